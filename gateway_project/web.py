"""One web process: uvicorn on a socket that the supervisor opened (LISTEN_FD), or on HOST and PORT."""

import socket

import uvicorn

from gateway_project.ground import env
from gateway_project.ground.http_protocol import BoundedProtocol


def configured(**changes: object) -> uvicorn.Config:
    """How the product is served."""
    options: dict[str, object] = {
        "loop": "uvloop",
        "http": BoundedProtocol,
        "ws": "none",
        "lifespan": "auto",
        "access_log": False,
        "proxy_headers": False,  # see `gateway_project/client_address.py`
        "server_header": False,
        "log_level": "warning",
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": 30,
    }
    return uvicorn.Config("gateway_project.asgi:application", **(options | changes))  # type: ignore[arg-type]  # uvicorn's own options


def main() -> None:
    descriptor = env.integer("LISTEN_FD", -1)
    if descriptor >= 0:
        uvicorn.Server(configured()).run(sockets=[socket.socket(fileno=descriptor)])
    else:
        uvicorn.Server(configured(host=env.text("HOST", "0.0.0.0"), port=env.integer("PORT", 8000))).run()  # noqa: S104 - a container is reached from outside


if __name__ == "__main__":
    main()
