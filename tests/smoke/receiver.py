"""Somebody's webhook endpoint, which checks signatures as Standard Webhooks says, with code of its own."""

import base64
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.smoke.visitor import DoorFailed


class Receiver:
    """Listens on a free port of this machine and keeps what comes."""

    def __init__(self) -> None:
        came: list[tuple[dict[str, str], bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                came.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                return

        self.came = came
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def events(self, kind: str, *, secret: str) -> list[dict[str, Any]]:
        """The events of `kind` that have come, each with its signature checked; in no order."""
        found = []
        for headers, body in list(self.came):
            event = json.loads(body)
            if event["type"] == kind:
                _check(headers, body, secret)
                found.append(event)
        return found

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _check(headers: dict[str, str], body: bytes, secret: str) -> None:
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256)
    expected = "v1," + base64.b64encode(digest).decode()
    if expected not in headers["webhook-signature"].split():
        raise DoorFailed(f"the signature {headers['webhook-signature']} is not {expected}")
