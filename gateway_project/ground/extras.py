"""Optional packages: what is there, and the one sentence that says how to get what is not."""

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
    return all(_found(module) for module in EXTRAS[extra])


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package it stands in
        return False
