"""The one reader of the environment. Each function reads one type.

All raise ImproperlyConfigured, with the variable's name, for a value that is not of that type.
"""

import ipaddress
import os
import re
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

# Stricter than `int`, which also takes the digits of other scripts and `1_000`.
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]{0,18})?|\.[0-9]{1,18})")
_MOST_SHOWN = 60


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "") or default


def integer(name: str, default: int, *, least: int | None = None, most: int | None = None) -> int:
    value = os.environ.get(name, "").strip()
    if not value:
        return default
    number = int(value) if _WHOLE.fullmatch(value) else None
    too_small = number is None or (least is not None and number < least)
    if number is None or too_small or (most is not None and number > most):
        raise ImproperlyConfigured(
            f"{name} must be a whole number{_range(least, most)}, not {_shown(value)}."
        )
    return number


def _range(least: int | None, most: int | None) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f", {least} or more"
    return f", {most} or less" if most is not None else ""


def number(name: str, default: str, *, least: int = 0, most: int | None = None) -> Decimal:
    """A decimal number from `least` to `most`."""
    value = os.environ.get(name, "").strip() or default
    parsed = Decimal(value) if _DECIMAL.fullmatch(value) else None
    if parsed is None or parsed < least or (most is not None and parsed > most):
        raise ImproperlyConfigured(f"{name} must be a number{_range(least, most)}, not {_shown(value)}.")
    return parsed


def _shown(value: str) -> str:
    return repr(value if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]}…")


def choice(name: str, default: str, *others: str) -> str:
    """`default` or one of `others`."""
    value = os.environ.get(name, "").strip() or default
    if value not in (default, *others):
        allowed = " or ".join((default, *others))
        raise ImproperlyConfigured(f"{name} must be {allowed}, not {_shown(value)}.")
    return value


def flag(name: str, default: bool = False) -> bool:
    value = os.environ.get(name, "").strip().lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be 1 or 0, not {_shown(value)}.")


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list; spaces around the words are dropped."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def pairs(name: str) -> list[tuple[str, str]]:
    """A comma-separated list of `name=value`."""
    parts = [word.partition("=") for word in words(name)]
    for left, equals, right in parts:
        if not (left and equals and right):
            raise ImproperlyConfigured(
                f"{name} must look like one=this,two=that, but contains {_shown(left + equals + right)}."
            )
    return [(left.strip(), right.strip()) for left, _, right in parts]


def shutdown_grace() -> int:
    """Seconds that open calls have to finish after a process is asked to stop (SHUTDOWN_GRACE_SECONDS)."""
    return integer("SHUTDOWN_GRACE_SECONDS", 120, least=0, most=3600)


def folder(name: str, default: Path) -> Path:
    """An absolute path. Raises ImproperlyConfigured for one that cannot be resolved: `~nobody`, a loop of links."""
    value = text(name, str(default))
    try:
        return Path(value).expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as error:
        raise ImproperlyConfigured(f"{name} must name a folder, not {_shown(value)}: {error}.") from error


def origin(name: str, default: str) -> str:
    """An http or https address without a path: scheme, host and, if it is not the usual one, a port."""
    value = text(name, default).rstrip("/")
    try:
        parts = urlsplit(value)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or value != f"{parts.scheme}://{parts.netloc}" or "@" in value or not value.isprintable():
        raise ImproperlyConfigured(f"{name} must look like https://gateway.example.com, not {value!r}.")
    return value


def web_address(name: str, default: str) -> str:
    """An http or https address with a host, or the default."""
    value = text(name, default).strip()
    try:
        parts = urlsplit(value)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not (valid and value.isprintable()) and value != default:
        raise ImproperlyConfigured(f"{name} must look like https://api.example.com, not {_shown(value)}.")
    return value


def is_public(host: str) -> bool:
    """Whether `host` looks reachable from the internet: a public IP address, or a name with a dot in it."""
    name = host.strip("[]").lstrip(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return "." in name and not name.endswith((".localhost", ".local", ".internal", ".test"))
    return address.is_global
