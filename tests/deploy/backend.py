"""A server behind nginx that keeps what it was asked, and can fail in the ways a stopping process does."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import msgspec


class Backend(msgspec.Struct):
    """Where it listens, and the requests that reached it: method, path, headers."""

    address: str
    asked: list[tuple[str, str, dict[str, str]]]


@contextlib.contextmanager
def running_backend(host: str = "127.0.0.1", port: int = 0, *, hangs_up: bool = False) -> Iterator[Backend]:
    """`hangs_up`: it reads a request, and closes instead of answering."""
    asked: list[tuple[str, str, dict[str, str]]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            asked.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            if hangs_up:
                self.close_connection = True
                return
            body = host.encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer((host, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield Backend(address=f"{host}:{server.server_port}", asked=asked)
    finally:
        server.shutdown()
        server.server_close()
