"""An upstream on a real socket that answers as the test says and remembers what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

SONNET = "claude-sonnet-4-20250514"


@dataclass
class Asked:
    """One request as it arrived."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Talk = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class ScriptedUpstream:
    """`talk` answers; `asked` is what came; `hung_up` is set when the gateway closes in the middle."""

    talk: Talk
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value
                    for name, _, value in (line.partition(": ") for line in head[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                asked = Asked(target=head[0].split(" ")[1], headers=headers, body=body)
                self.asked.append(asked)
                talking = asyncio.ensure_future(self.talk(asked, writer))
                watching = asyncio.ensure_future(reader.read(1))
                await asyncio.wait((talking, watching), return_when=asyncio.FIRST_COMPLETED)
                if not talking.done():
                    self.hung_up.set()
                    talking.cancel()
                    break
                await talking
                await writer.drain()
                watching.cancel()
                await asyncio.wait((watching,))
                if writer.is_closing():
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def upstream_that(talk: Talk) -> AsyncIterator[ScriptedUpstream]:
    upstream = ScriptedUpstream(talk)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    yield upstream
    server.close()


def raw(
    body: bytes, *, status: int = 200, kind: str = "application/json", headers: tuple[str, ...] = ()
) -> Talk:
    """Answers these bytes."""
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(body)}", *headers]

    async def talk(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    return talk


def message(*, model: str = SONNET, **usage: Any) -> bytes:
    usage = usage or {"input_tokens": 1000, "output_tokens": 50}
    return json.dumps(
        {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [], "usage": usage}
    ).encode()


def echo(**usage: Any) -> Talk:
    """Answers in the name of the model that was asked."""

    async def talk(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await raw(message(model=asked.json["model"], **usage))(asked, writer)

    return talk


def event(name: str, **data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


START = event("message_start", message={"model": SONNET, "usage": {"input_tokens": 1000, "output_tokens": 1}})
DELTA = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "word " * 30})
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 50})
STOP = event("message_stop")


def stream(*pieces: bytes | float, cut: bool = False) -> Talk:
    """Answers an SSE stream: bytes are sent, numbers are seconds of silence. `cut`: without a proper end."""

    async def talk(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nrequest-id: req_up\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for piece in pieces:
            if isinstance(piece, bytes):
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            else:
                await asyncio.sleep(piece)
        if cut:
            writer.close()
        else:
            writer.write(b"0\r\n\r\n")

    return talk
