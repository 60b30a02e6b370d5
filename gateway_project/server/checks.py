"""Checks of this installation's settings for `manage.py check --deploy`."""

import os
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register
from django.http.request import validate_host

from gateway_project.ground.env import is_public


@register(deploy=True)
def public_url(app_configs: Any, **options: Any) -> list[CheckMessage]:
    """Check PUBLIC_URL, to which links in emails lead: it must be a served host, and https if there is TLS."""
    if not any(is_public(host) for host in settings.ALLOWED_HOSTS):
        return []
    if not os.environ.get("PUBLIC_URL"):
        return [
            Warning(
                f"PUBLIC_URL is not set: links in emails point to {settings.PUBLIC_URL}.",
                hint="Set it to where people reach this installation, e.g. https://gateway.example.com.",
                id="tenantry.W001",
            )
        ]
    found: list[CheckMessage] = []
    parts = urlsplit(settings.PUBLIC_URL)
    if not validate_host(_host(parts), settings.ALLOWED_HOSTS):
        found += [
            Warning(f"The host of PUBLIC_URL ({parts.netloc}) is not in ALLOWED_HOSTS.", id="tenantry.W002")
        ]
    if settings.HTTPS and parts.scheme != "https":
        found += [
            Warning("PUBLIC_URL is http, but this installation is served over TLS.", id="tenantry.W003")
        ]
    return found


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host
