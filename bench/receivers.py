"""`python -m bench.receivers COUNT HANGING`: run receivers of webhooks, each on its own port; prints the ports.

The last HANGING of them take requests and never answer.
"""

import asyncio
import sys


class Receiver(asyncio.Protocol):
    def __init__(self, *, hangs: bool) -> None:
        self.hangs = hangs
        self.read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.read += data
        head, end, body = self.read.partition(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in (*head.split(b"\r\n"), b"content-length: 0")
            if line.lower().startswith(b"content-length:")
        )
        if end and len(body) >= length and not self.hangs:
            self.read = b""
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


async def main(count: int, hanging: int) -> None:
    loop, ports = asyncio.get_running_loop(), []
    for number in range(count):
        hangs = number >= count - hanging
        server = await loop.create_server(lambda hangs=hangs: Receiver(hangs=hangs), "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
    print(*ports, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*(int(argument) for argument in sys.argv[1:])))
