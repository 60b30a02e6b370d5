"""One request of the data plane, as the service functions see it."""

import time
from collections.abc import Mapping

from proxy.client import Client
from proxy.dialects.base import Dialect


class Call:
    """What came in: who answers to it (`request_id`), its wire, headers (lower-case names) and bytes."""

    __slots__ = ("body", "client", "dialect", "headers", "query", "request_id", "started")

    def __init__(
        self,
        *,
        request_id: str,
        dialect: Dialect,
        headers: Mapping[str, str],
        query: str,
        body: bytes,
        client: Client,
    ) -> None:
        self.request_id = request_id
        self.dialect = dialect
        self.headers = headers
        self.query = query
        self.body = body
        self.client = client
        self.started = time.perf_counter()

    def elapsed_ms(self) -> int:
        """Milliseconds since the request was complete."""
        return int((time.perf_counter() - self.started) * 1000)
