"""An installation whose processes can be hurt, in front of an upstream that journals what it billed."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import redis

from tests.sandbox import free_port, running_sandbox
from tests.stack.conftest import HOME, wait_until_ready

SONNET = "claude-sonnet-4-20250514"
_OURS = ("DATABASE_URL", "REDIS_URL", "DATA_DIR", "SECRET_KEY", "EZAI_API_KEY", "EZAI_BASE_URL")
_WHAT = {
    "web": "gateway_project.web",
    "ledger": "manage.py ledger",
    "worker": "--quiet worker ",
    "beat": "--quiet beat ",
    "redis": "redis-server",
    "postgres": "/postgres",
}


class Installation(msgspec.Struct):
    """Its address, where its data is, and the process that keeps the others."""

    url: str
    home: Path
    journal: Path
    up: "subprocess.Popen[bytes]"
    environment: dict[str, str]
    workers: int = 2

    def pids(self, what: str) -> list[int]:
        """The running processes of a kind: web, ledger, worker, beat, redis; postgres: the postmaster."""
        if what == "postgres":
            return [int((self.home / "postgres" / "postmaster.pid").read_text().split()[0])]
        found = []
        for child in psutil.Process(self.up.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if _WHAT[what] in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child.pid)
        return sorted(found)

    def kill(self, what: str) -> None:
        """`kill -9` of the first process of a kind."""
        os.kill(self.pids(what)[0], signal.SIGKILL)

    def freeze(self, what: str, seconds: float) -> None:
        pid = self.pids(what)[0]
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(pid, signal.SIGCONT)

    def redis(self) -> Any:
        socket = self.manage(
            "shell", "-v", "0", "-c", "from django.conf import settings as s; print(s.REDIS_URL)"
        )
        return redis.Redis.from_url(socket.strip().splitlines()[-1])

    def manage(self, *arguments: str, check: bool = True) -> str:
        """What a `manage.py` command prints."""
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "manage.py", *arguments],
            cwd=HOME,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"manage.py {' '.join(arguments)}: {done.stderr[-2000:]}")
        return done.stdout

    def billed(self) -> dict[str, dict[str, Any]]:
        """The upstream's journal by our request id. Raises ValueError if a request was billed twice."""
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
        calls = {line["request_id"]: line for line in lines}
        if len(calls) != len(lines):
            raise ValueError("a request was sent upstream twice")
        return calls

    def books(self) -> dict[str, Any]:
        return dict(json.loads(self.manage("check_books", "--json", check=False)))

    def until_quiet(self, seconds: float = 60) -> dict[str, Any]:
        """The books once they agree and nothing is reserved or undrained; as they are after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                books = self.books()
            except ValueError:
                books = {"ok": False, "tenants": []}
            busy = [each for each in books["tenants"] if float(each["reserved_usd"]) or each["undrained"]]
            if (books["ok"] and books["tenants"] and not busy) or time.monotonic() > deadline:
                return books
            time.sleep(1)


@contextlib.contextmanager
def running_installation(*, web_workers: int = 2) -> Iterator[Installation]:
    home = Path(tempfile.mkdtemp(prefix="tenantry-chaos-", dir="/tmp"))
    home.chmod(0o755)
    journal = home / "journal.jsonl"
    port = free_port()
    log = (home / "up.log").open("w")
    with running_sandbox(journal) as upstream:
        environment = {name: value for name, value in os.environ.items() if name not in _OURS}
        environment |= {
            "DATA_DIR": str(home),
            "PORT": str(port),
            "WEB_WORKERS": str(web_workers),
            "EZAI_BASE_URL": upstream,
            "EZAI_API_KEY": "sandbox",
            "UPSTREAM_TRACKING_HEADERS": "x-tenantry-request={request_id}",
        }
        up = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "gateway_project.up"],
            cwd=HOME,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until_ready(url, up, home / "up.log")
            yield Installation(url=url, home=home, journal=journal, up=up, environment=environment)
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(60)
            log.close()
            shutil.rmtree(home, ignore_errors=True)


def operator_of(installation: Installation) -> httpx.Client:
    """A client of the control API."""
    printed = json.loads(installation.manage("create_operator", "chaos"))
    return httpx.Client(
        base_url=installation.url, headers={"authorization": f"Token {printed['token']}"}, timeout=30
    )
