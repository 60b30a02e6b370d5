"""An upstream with a limited capacity: `python -m bench.scarce_upstream PORT CAPACITY MILLISECONDS`.

Up to CAPACITY calls at once are answered after MILLISECONDS, plus or minus half, since real answers differ in length
and equal ones would come in waves. All other calls get a 529 at once.
"""

import asyncio
import random
import sys

import uvloop

from bench.mock_upstream import JSON, content_length

_BUSY = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
BUSY = b"HTTP/1.1 529 X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_BUSY),
    _BUSY,
)


class Scarce:
    def __init__(self, capacity: int, seconds: float) -> None:
        self._capacity, self._seconds = capacity, seconds
        self._busy = 0
        self._random = random.Random(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(content_length(head))
                if self._busy >= self._capacity:
                    writer.write(BUSY)
                    continue
                self._busy += 1
                try:
                    await asyncio.sleep(self._seconds * self._random.uniform(0.5, 1.5))
                finally:
                    self._busy -= 1
                writer.write(JSON)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the gateway has closed it
        finally:
            writer.close()


async def main(port: int, capacity: int, milliseconds: int) -> None:
    scarce = Scarce(capacity, milliseconds / 1000)
    server = await asyncio.start_server(scarce.serve, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(*(int(argument) for argument in sys.argv[1:])))
