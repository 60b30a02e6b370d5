"""The ASGI entry of both planes: the data plane's handler serves `/v1/*`, `probes` its paths, Django the rest."""

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
control_plane = get_asgi_application()

from gateway_project.client_address import trusted_proxies  # noqa: E402 - Django must be set up first
from gateway_project.probes import ANSWERS, probe  # noqa: E402
from proxy.door.handler import DataPlaneHandler  # noqa: E402
from proxy.door.lifespan import lifespan  # noqa: E402
from proxy.runtime import Runtime  # noqa: E402

data_plane = DataPlaneHandler(Runtime())
proxies = trusted_proxies()
Message = MutableMapping[str, Any]


async def application(
    scope: Any,
    receive: Callable[[], Awaitable[Message]],
    send: Callable[[Any], Awaitable[None]],
) -> None:
    if scope["type"] == "lifespan":
        # A server may start more than once in a process, and its stop closed the last runtime.
        data_plane.runtime = Runtime()
        await lifespan(data_plane.runtime, receive, send)
        return
    proxies.name_caller(scope)
    if scope["type"] == "http" and scope["path"].startswith("/v1/"):
        await data_plane(scope, receive, send)
    elif scope["type"] == "http" and scope["path"] in ANSWERS:
        await probe(scope, receive, send)
    else:
        await control_plane(scope, receive, send)
