"""One request of the data plane, as the service functions see it."""

import time
from collections.abc import Mapping

from proxy.dialects.base import Dialect
from proxy.pipeline.caller import CallerConnection
from proxy.runtime import Runtime


class Call:
    """What came in, and the `runtime` of the process that serves it.

    `headers` have lower-case names. `target` is the path and query, which are the same upstream. `address` is the
    caller's.
    """

    __slots__ = (
        "address",
        "body",
        "client",
        "dialect",
        "headers",
        "request_id",
        "runtime",
        "started",
        "target",
    )

    def __init__(
        self,
        *,
        runtime: Runtime,
        request_id: str,
        dialect: Dialect,
        headers: Mapping[str, str],
        target: str,
        body: bytes,
        client: CallerConnection,
        address: str = "",
    ) -> None:
        self.runtime = runtime
        self.request_id = request_id
        self.dialect = dialect
        self.headers = headers
        self.target = target
        self.body = body
        self.client = client
        self.address = address
        self.started = time.perf_counter()

    def elapsed_ms(self) -> int:
        """Milliseconds since the whole request had arrived."""
        return int((time.perf_counter() - self.started) * 1000)
