"""One web process: uvicorn on a listening socket that the supervisor opened and all web processes share."""

import os
import socket

import uvicorn


def main() -> None:
    listener = socket.socket(fileno=int(os.environ["LISTEN_FD"]))
    config = uvicorn.Config(
        "gateway_project.asgi:application",
        loop="uvloop",
        http="httptools",
        lifespan="auto",
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=30,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
