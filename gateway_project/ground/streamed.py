"""Stream long files to a browser or a script, piece by piece.

Under ASGI, Django reads a plain iterator to its end before it sends the first byte. So there the iterator runs in a
thread of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import connection
from django.http import HttpRequest, StreamingHttpResponse

from gateway_project.ground.statement_timeout import statements_within


def streamed(
    request: HttpRequest, pieces: Callable[[], Iterator[bytes]], *, content_type: str, filename: str
) -> StreamingHttpResponse:
    """A response with `pieces()` as an attachment. They may read the database for longer than a page may."""

    def drawn() -> Iterator[bytes]:
        with statements_within(settings.EXPORT_STATEMENT_TIMEOUT_SECONDS):
            yield from pieces()

    content = _in_a_thread(drawn) if isinstance(request, ASGIRequest) else drawn()
    response = StreamingHttpResponse(content, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


async def _in_a_thread(pieces: Callable[[], Iterator[bytes]]) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="file") as thread:
        drawn = await loop.run_in_executor(thread, pieces)
        try:
            while (piece := await loop.run_in_executor(thread, next, drawn, None)) is not None:
                yield piece
        finally:
            # Also if the caller left: the iterator cleans up before its database connection is closed.
            await asyncio.shield(loop.run_in_executor(thread, _end, drawn))


def _end(drawn: Iterator[bytes]) -> None:
    if hasattr(drawn, "close"):
        drawn.close()
    connection.close()
