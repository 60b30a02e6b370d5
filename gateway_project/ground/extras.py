"""Optional packages: which are installed, and the message that says how to install a missing one."""

from importlib.util import find_spec

from django.core.exceptions import ImproperlyConfigured

# Extra of pyproject.toml -> the modules it brings.
EXTRAS = {
    "otel": ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"),
    "parquet": ("pyarrow",),
    "sentry": ("sentry_sdk",),
}


class MissingExtra(ImproperlyConfigured):
    """An extra that something needs is not installed."""


def require(extra: str, *, because: str) -> None:
    """Raises MissingExtra unless the extra's modules are installed. `because` begins the sentence."""
    if not installed(extra):
        raise MissingExtra(needs(extra, because=because))


def needs(extra: str, *, because: str) -> str:
    return (
        f"{because} needs the extra '{extra}': run .venv/bin/pip install '.[{extra}]' in Tenantry's folder."
    )


def installed(extra: str) -> bool:
    return all(_is_importable(module) for module in EXTRAS[extra])


def _is_importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False
