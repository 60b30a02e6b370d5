"""An installation whose processes can be hurt, in front of an upstream that journals what it billed."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import psycopg
import redis

from gateway_project.server.sockets import socket_below
from tests.billing.webhooks.receiver import Receiver, receiving
from tests.folders import throwaway_folder
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


class Gateway(msgspec.Struct, kw_only=True):
    """Its address, where its data is, what its commands need, the upstream's journal, and an operator's token."""

    url: str
    home: Path
    journal: Path
    environment: dict[str, str]
    token: str = ""

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

    def postgres(self) -> "psycopg.Connection[Any]":
        return psycopg.connect(
            self.environment.get("DATABASE_URL") or (self.home / "postgres.url").read_text()
        )


class Installation(Gateway):
    """One that `make up` started: the process that keeps the others, and a receiver of its webhooks."""

    up: "subprocess.Popen[bytes]"
    receiver: Receiver
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

    def kill_busiest_web(self) -> None:
        """The one with the most connections: it is in the middle of calls."""
        busiest = max(self.pids("web"), key=lambda pid: len(psutil.Process(pid).net_connections("tcp")))
        os.kill(busiest, signal.SIGKILL)

    def freeze(self, what: str, seconds: float) -> None:
        with self.frozen(what):
            time.sleep(seconds)

    @contextlib.contextmanager
    def frozen(self, what: str) -> Iterator[None]:
        pid = self.pids(what)[0]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):  # it may have been killed meanwhile
                os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def also_running(self, *command: str) -> Iterator[None]:
        """One more process of the installation, started by hand."""
        more = subprocess.Popen(
            [sys.executable, "-W", "ignore", *command],
            cwd=HOME,
            env=self.environment,
            stdout=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            more.terminate()
            more.wait(30)

    def redis(self) -> Any:
        return redis.Redis(unix_socket_path=str(socket_below(self.home, "redis.sock")))


@contextlib.contextmanager
def running_installation(*, web_workers: int = 2, ahead_seconds: int = 0) -> Iterator[Installation]:
    """With `ahead_seconds` the clock of all its processes is so much ahead of the machine's."""
    home = throwaway_folder("tenantry-chaos-")
    journal = home / "journal.jsonl"
    port = free_port()
    log = (home / "up.log").open("w")
    with running_sandbox(journal) as upstream, receiving() as receiver:
        environment = {name: value for name, value in os.environ.items() if name not in _OURS}
        environment |= {
            "DATA_DIR": str(home),
            "PORT": str(port),
            "WEB_WORKERS": str(web_workers),
            "DEMO": "0",
            "EZAI_BASE_URL": upstream,
            "EZAI_API_KEY": "sandbox",
            "UPSTREAM_TRACKING_HEADERS": "x-tenantry-request={request_id}",
            "WEBHOOK_ALLOW_HOSTS": receiver.place,
            **(_clock_ahead(ahead_seconds) if ahead_seconds else {}),
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
            yield Installation(
                url=url, home=home, journal=journal, up=up, environment=environment, receiver=receiver
            )
        finally:
            up.send_signal(signal.SIGTERM)
            up.wait(60)
            log.close()
            shutil.rmtree(home, ignore_errors=True)


def fake_clock() -> Path | None:
    """libfaketime, if this machine has it (Debian: `apt install faketime`)."""
    found = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
    return found[0] if found else None


def _clock_ahead(seconds: int) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(fake_clock()),
        "FAKETIME": f"+{seconds}",
        "FAKETIME_DONT_RESET": "1",
    }


def operator_of(installation: Gateway) -> httpx.Client:
    """A client of the control API."""
    if not installation.token:
        installation.token = json.loads(installation.manage("create_operator", "chaos"))["token"]
    return httpx.Client(
        base_url=installation.url, headers={"authorization": f"Token {installation.token}"}, timeout=30
    )


def make_key(operator: httpx.Client, slug: str, **fields: Any) -> str:
    """A key of a new tenant with room for everything, so that it is missed if it loses a call."""
    body: dict[str, Any] = {"slug": slug, "name": slug, "tier": "enterprise", "allowed_models": [SONNET]}
    body |= {"max_requests_per_minute": 100_000, "monthly_budget_usd": "1000", "max_tokens_per_day": 10**12}
    answer = operator.post("/api/tenants/", json=body | fields)
    assert answer.status_code == 201, answer.text
    return str(operator.post(f"/api/tenants/{slug}/keys/", json={"name": "c"}).json()["key"])


def ledger_rows(installation: Gateway) -> dict[str, dict[str, Any]]:
    """Every ledger row by request id; the primary key keeps a second one out."""
    with operator_of(installation) as operator:
        rows: dict[str, dict[str, Any]] = {}
        url: str | None = "/api/usage?page_size=1000"
        while url:
            page = operator.get(url).json()
            rows |= {row["request_id"]: row for row in page["results"]}
            url = page["next"]
    return rows
