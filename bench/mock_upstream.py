"""An upstream that answers at once, so that only what is in front of it is measured.

`python -m bench.mock_upstream PORT [DELTAS] [DELTAS_PER_SECOND]`. It is a bare protocol, not an app, so that it is
never the bottleneck: about 80,000 answers a second on one core, where the gateway needs about 2,000.
"""

import asyncio
import sys

import uvloop

ANSWER = (
    b'{"id":"msg_bench","type":"message","role":"assistant","model":"claude-sonnet-4-20250514",'
    b'"content":[{"type":"text","text":"Forty-two."}],"stop_reason":"end_turn","stop_sequence":null,'
    b'"usage":{"input_tokens":12,"output_tokens":5,"cache_creation_input_tokens":0,"cache_read_input_tokens":0}}'
)
JSON = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_bench\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nrequest-id: req_bench\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def _event(name: str, data: str) -> bytes:
    event = f"event: {name}\ndata: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


START = _event(
    "message_start",
    '{"type":"message_start","message":{"id":"msg_bench","type":"message","role":"assistant",'
    '"model":"claude-sonnet-4-20250514","content":[],"stop_reason":null,'
    '"usage":{"input_tokens":12,"output_tokens":1}}}',
) + _event(
    "content_block_start",
    '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
)
DELTA = _event(
    "content_block_delta",
    '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}',
)


def _end(deltas: int) -> bytes:
    usage = f'{{"output_tokens":{deltas}}}'
    return (
        _event("content_block_stop", '{"type":"content_block_stop","index":0}')
        + _event(
            "message_delta",
            f'{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{usage}}}',
        )
        + _event("message_stop", '{"type":"message_stop"}')
        + b"0\r\n\r\n"
    )


class Connection(asyncio.Protocol):
    def __init__(self, deltas: int, per_second: float) -> None:
        self._deltas = deltas
        self._pause = 1 / per_second if per_second else 0.0
        self._buffer = b""
        self._streams: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        for stream in self._streams:
            stream.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = content_length(self._buffer[:end])
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        # The flag is near an end of the body, so a 5 MB prompt need not be searched.
        if b'"stream":true' not in (body[:200] + body[-200:]).replace(b" ", b""):
            self._transport.write(JSON)
        else:
            task = asyncio.get_running_loop().create_task(self._stream())
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)

    async def _stream(self) -> None:
        """Send each delta in a packet of its own, even without pauses, so that proxies handle every one."""
        self._transport.write(STREAM_HEAD + START)
        for _ in range(self._deltas):
            await asyncio.sleep(self._pause)
            self._transport.write(DELTA)
        self._transport.write(_end(self._deltas))


def content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


async def main(port: int, deltas: int = 100, per_second: float = 0) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(deltas, per_second), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(*(int(argument) for argument in sys.argv[1:])))
