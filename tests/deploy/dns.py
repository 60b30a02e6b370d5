"""A name server that gives one address for every name, and another one when it is told to."""

import contextlib
import socket
import threading
from collections.abc import Iterator


class Names:
    """`address` is what every name stands for now."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.server = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                query, caller = self._socket.recvfrom(512)
                self._socket.sendto(self._answer(query), caller)

    def close(self) -> None:
        self._socket.close()

    def _answer(self, query: bytes) -> bytes:
        question = query[12 : query.index(b"\0", 12) + 5]
        head = query[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
        record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04" + socket.inet_aton(self.address)
        return head + question + record


@contextlib.contextmanager
def running_names(address: str) -> Iterator[Names]:
    names = Names(address)
    threading.Thread(target=names.serve, daemon=True).start()
    try:
        yield names
    finally:
        names.close()
