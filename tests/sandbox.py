"""The sandbox upstream as a real process on a free loopback port."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port} after {seconds} s")


@contextlib.contextmanager
def running_sandbox(journal: Path | None = None) -> Iterator[str]:
    """Its base URL, while it runs."""
    port = free_port()
    arguments = ["--port", str(port), *(["--journal", str(journal)] if journal else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy.sandbox", *arguments], cwd=Path(__file__).resolve().parent.parent
    )
    try:
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
