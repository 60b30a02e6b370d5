"""The processes that are measured: the mock upstream, the bare proxy, the complete gateway."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

HOME = Path(__file__).resolve().parent.parent
_TICKS = os.sysconf("SC_CLK_TCK")
_GIVEN = ("DATABASE_URL", "REDIS_URL", "CACHE_URL", "CELERY_BROKER_URL", "DATA_DIR", "EZAI_API_KEY")


class Server(msgspec.Struct):
    """The address of a server, and its processes."""

    url: str
    pids: list[int]

    def cpu_seconds(self) -> float:
        return sum(_cpu_seconds(pid) for pid in self.pids)

    def rss_mb(self) -> float:
        return sum(psutil.Process(pid).memory_info().rss for pid in self.pids) / 1e6


class Gateway(Server):
    """The gateway's web processes; `environment` is what a command beside it needs."""

    environment: dict[str, str]

    def keys(self, tenants: int = 1, rpm: int = 10_000_000) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "bench.seed", str(tenants), str(rpm)],
            cwd=HOME, env=self.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.split()

    def ask(self, code: str) -> str:
        """What `code` prints when it is run inside the project, for counters of PostgreSQL and Redis."""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "manage.py", "shell", "-v", "0", "-c", code],
            cwd=HOME, env=self.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def _process(*command: str, environment: dict[str, str] | None = None, log: Any = None) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", *command],
        cwd=HOME,
        env=environment,
        stdout=log or subprocess.DEVNULL,
        stderr=subprocess.STDOUT if log else subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _until_open(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def mock_upstream(*, deltas: int = 100, per_second: int = 0) -> Iterator[Server]:
    port = free_port()
    with _process("-m", "bench.mock_upstream", str(port), str(deltas), str(per_second)) as pid:
        _until_open(port)
        yield Server(url=f"http://127.0.0.1:{port}", pids=[pid])


@contextlib.contextmanager
def scarce_upstream(*, capacity: int, milliseconds: int) -> Iterator[Server]:
    port = free_port()
    command = ("-m", "bench.scarce_upstream", str(port), str(capacity), str(milliseconds))
    with _process(*command) as pid:
        _until_open(port)
        yield Server(url=f"http://127.0.0.1:{port}", pids=[pid])


@contextlib.contextmanager
def bare_proxy(upstream: Server) -> Iterator[Server]:
    port = free_port()
    command = (
        *("-m", "uvicorn", "bench.bare_proxy:application", "--port", str(port), "--loop", "uvloop"),
        *("--http", "httptools", "--no-access-log", "--log-level", "warning", "--no-server-header"),
    )
    with _process(*command, environment={**os.environ, "BENCH_UPSTREAM": upstream.url}) as pid:
        _until_open(port)
        yield Server(url=f"http://127.0.0.1:{port}", pids=[pid])


@contextlib.contextmanager
def gateway(upstream: Server, *, workers: int = 1) -> Iterator[Gateway]:
    """A complete installation as `make up` starts it: PostgreSQL, a Redis that syncs every write, ledger, worker, beat
    and `workers` web processes.
    """
    home = Path(tempfile.mkdtemp(prefix="tenantry-bench-", dir="/tmp"))
    home.chmod(0o755)
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name not in _GIVEN}
    environment |= {
        "DATA_DIR": str(home), "PORT": str(port), "WEB_WORKERS": str(workers),
        "EZAI_BASE_URL": upstream.url, "EZAI_API_KEY": "bench",
    }  # fmt: skip
    with (home / "up.log").open("w") as log:
        try:
            with _process("-m", "gateway_project.up", environment=environment, log=log) as up:
                _until_ready(f"http://127.0.0.1:{port}/readyz")
                yield Gateway(
                    url=f"http://127.0.0.1:{port}", pids=_web_processes(up), environment=environment
                )
        finally:
            shutil.rmtree(home, ignore_errors=True)


def _web_processes(up: int) -> list[int]:
    children = psutil.Process(up).children(recursive=True)
    return [child.pid for child in children if "gateway_project.web" in " ".join(child.cmdline())]


def _until_ready(url: str) -> None:
    deadline = time.monotonic() + 240  # a busy machine needs time
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except (OSError, urllib.error.URLError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
