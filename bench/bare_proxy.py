"""The simplest Python proxy: uvicorn and aiohttp, bytes in, bytes out, without keys, limits and accounting.

The gateway's cost is what it takes beyond this. `BENCH_UPSTREAM` is the address it forwards to.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

UPSTREAM = os.environ.get("BENCH_UPSTREAM", "http://127.0.0.1:9100")
_session: aiohttp.ClientSession | None = None
_KEPT = {b"content-type", b"request-id"}


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    global _session
    if scope["type"] == "lifespan":
        for _ in ("startup", "shutdown"):
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
        return
    if _session is None:
        _session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    async with _session.post(
        UPSTREAM + scope["path"], data=body, headers={"content-type": "application/json"}
    ) as answer:
        headers = [(name.lower(), value) for name, value in answer.raw_headers if name.lower() in _KEPT]
        if answer.content_type == "text/event-stream":
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        content = await answer.read()
        headers.append((b"content-length", b"%d" % len(content)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": content})
