"""The one reader of the environment: typed, with a message that names the variable."""

import ipaddress
import os
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "") or default


def integer(name: str, default: int, *, least: int | None = None, most: int | None = None) -> int:
    value = os.environ.get(name, "").strip()
    if not value:
        return default
    try:
        number = int(value)
    except ValueError:
        number = None
    too_small = number is None or (least is not None and number < least)
    if number is None or too_small or (most is not None and number > most):
        raise ImproperlyConfigured(f"{name} must be a whole number{_range(least, most)}, not {value!r}.")
    return number


def _range(least: int | None, most: int | None) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f", {least} or more"
    return f", {most} or less" if most is not None else ""


def number(name: str, default: str, *, least: int = 0) -> Decimal:
    """A decimal number, `least` or more."""
    value = text(name, default).strip()
    try:
        found = Decimal(value)
    except InvalidOperation:
        found = None
    if found is None or not found.is_finite() or found < least:
        raise ImproperlyConfigured(f"{name} must be a number, {least} or more, not {value!r}.")
    return found


def choice(name: str, default: str, *others: str) -> str:
    """One of these words."""
    value = text(name, default).strip()
    if value not in (default, *others):
        allowed = " or ".join((default, *others))
        raise ImproperlyConfigured(f"{name} must be {allowed}, not {value!r}.")
    return value


def flag(name: str, default: bool = False) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be 1 or 0, not {value!r}.")


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list; spaces around the words are dropped."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def shutdown_grace() -> int:
    """Seconds that calls under way have to end when a process is asked to stop (SHUTDOWN_GRACE_SECONDS)."""
    seconds = integer("SHUTDOWN_GRACE_SECONDS", 120)
    if not 0 <= seconds <= 3600:
        raise ImproperlyConfigured(f"SHUTDOWN_GRACE_SECONDS must be 0 to 3600, not {seconds}.")
    return seconds


def folder(name: str, default: Path) -> Path:
    return Path(text(name, str(default))).expanduser().resolve()


def origin(name: str, default: str) -> str:
    """An address without a path: scheme, host and, where it is unusual, a port."""
    value = text(name, default).rstrip("/")
    try:
        parts = urlsplit(value)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or value != f"{parts.scheme}://{parts.netloc}" or "@" in value or not value.isprintable():
        raise ImproperlyConfigured(f"{name} must be like https://gateway.example.com, not {value!r}.")
    return value


def is_public(host: str) -> bool:
    """Whether `host` may be reached from elsewhere: not a name without a dot, nor an address of a closed net."""
    name = host.strip("[]").lstrip(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return "." in name and not name.endswith((".localhost", ".local", ".internal", ".test"))
    return address.is_global
