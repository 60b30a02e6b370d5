"""`make up`: a whole installation on this machine, from nothing to a curl that works."""

import asyncio
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from django.core.exceptions import ImproperlyConfigured

from gateway_project.ground import env
from gateway_project.server.embedded import (
    EmbeddedServiceError,
    postgres_pid,
    redis_command,
    start_postgres,
    stop_postgres,
)
from gateway_project.server.supervisor import Process, Supervisor

BASE_DIR = Path(__file__).resolve().parent.parent
PYTHON = sys.executable


class UpError(Exception):
    """Why it can't come up, and what to do."""


def main() -> None:
    began = time.monotonic()
    data = env.folder("DATA_DIR", BASE_DIR / ".data")
    port = env.integer("PORT", 8000)
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = _lock(data)
        listener = _listen(port)
        installation = Installation(data, port, listener)
        installation.prepare()
    except (UpError, EmbeddedServiceError, ImproperlyConfigured) as error:
        sys.exit(f"make up: {error}")
    try:
        asyncio.run(installation.run(began))
    finally:
        installation.stop_services()
        lock.close()
    say("All processes have ended; the data stays in " + str(data))


def say(line: str) -> None:
    print(line, flush=True)


def _lock(data: Path) -> IO[str]:
    file = (data / "up.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        raise UpError(
            f"Tenantry already runs in {data} (process {file.read().strip() or 'unknown'}). "
            "Stop it first, or give another DATA_DIR and PORT."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        raise UpError(
            f"Port {port} is taken. Stop what listens there, or choose another: PORT=8001."
        ) from None
    listener.listen(2048)
    listener.set_inheritable(True)
    return listener


class Installation:
    """What `make up` runs: services, migrations, the demo, processes."""

    def __init__(self, data: Path, port: int, listener: socket.socket) -> None:
        self.data, self.port, self.listener = data, port, listener
        self.embedded_postgres = not os.environ.get("DATABASE_URL")
        self.embedded_redis = not os.environ.get("REDIS_URL")
        self.sandbox = not os.environ.get("EZAI_API_KEY")
        self.redis: Any = None
        self.demo: dict[str, Any] = {}

    def prepare(self) -> None:
        """Services up, schema migrated, demo there."""
        os.environ["DATA_DIR"] = str(self.data)
        os.environ["PORT"] = str(self.port)
        os.environ.setdefault("SECRET_KEY", self._secret_key())
        os.environ.setdefault("STATIC_FROM_APPS", "1")
        os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_project.settings"
        self._make_room_for_metrics()
        if self.sandbox:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.sandbox_port = probe.getsockname()[1]
            os.environ["EZAI_BASE_URL"] = f"http://127.0.0.1:{self.sandbox_port}"
            os.environ["EZAI_API_KEY"] = "sandbox"
            os.environ["SANDBOX"] = "1"
        self._step("Starting PostgreSQL and Redis", self._start_services)
        self._step("Migrating the database", self._migrate)
        if env.flag("DEMO", default=True):
            self._step("Seeding the demo", self._seed)
        else:
            self._step("Seeding models, prices and tiers", self._seed_basics)

    async def run(self, began: float) -> None:
        supervisor = Supervisor(self._processes())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, supervisor.stop)
        watcher = asyncio.create_task(self._watch_postgres())
        greeting = asyncio.create_task(self._greet(began))
        try:
            await supervisor.run()
        finally:
            watcher.cancel()
            greeting.cancel()

    def stop_services(self) -> None:
        if self.redis is not None and self.redis.poll() is None:
            self.redis.terminate()
            self.redis.wait(15)
        if self.embedded_postgres:
            stop_postgres(self.data / "postgres")
            deadline = time.monotonic() + 15
            while postgres_pid(self.data / "postgres") and time.monotonic() < deadline:
                time.sleep(0.05)

    def _step(self, title: str, work: Any) -> None:
        began = time.monotonic()
        print(f"  {title} … ", end="", flush=True)
        try:
            work()
        except Exception:
            say("failed")
            self.stop_services()
            raise
        say(f"{time.monotonic() - began:.1f} s")

    def _make_room_for_metrics(self) -> None:
        """Counters of processes that are no more would be added to those that are."""
        folder = self.data / "metrics"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)

    def _secret_key(self) -> str:
        file = self.data / "secret_key"
        if not file.exists():
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(secrets.token_urlsafe(50))
        return file.read_text()

    def _start_services(self) -> None:
        with ThreadPoolExecutor() as threads:
            postgres = threads.submit(self._start_postgres)
            self._start_redis()
            postgres.result()

    def _start_postgres(self) -> None:
        if self.embedded_postgres:
            url = start_postgres(self.data / "postgres")
            (self.data / "postgres.url").write_text(url)
            os.environ["DATABASE_URL"] = url

    def _start_redis(self) -> None:
        if not self.embedded_redis:
            return
        from gateway_project.server.sockets import socket_below

        path = socket_below(self.data, "redis.sock")
        path.unlink(missing_ok=True)
        self.redis = subprocess.Popen(  # noqa: S603 - our own command
            redis_command(self.data / "redis", path), start_new_session=True, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while not path.exists():
            if self.redis.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedServiceError(f"The embedded Redis did not start on {self.data / 'redis'}.")
            time.sleep(0.02)
        os.environ["REDIS_URL"] = f"unix://{path}?db=0"

    def _migrate(self) -> None:
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0, interactive=False)
        self._open_meter()

    def _open_meter(self) -> None:
        """Where nothing was ever booked nothing can have been lost: no worker has to be waited for."""
        from billing.models import UsageRecord
        from gateway_project.ground.redis_client import store
        from gateway_project.ground.redis_keys import every_shard, shard_key

        if not UsageRecord.objects.exists():
            for shard in every_shard():
                store().hsetnx(shard_key(shard), "opens_ms", 0)
                store().hsetnx(shard_key(shard), "epoch", secrets.token_hex(16))

    def _seed(self) -> None:
        from billing.demo.tenants import seed_demo
        from billing.demo.usage import seed_portal, seed_usage

        file = self.data / "demo.json"
        self.demo = json.loads(file.read_text()) if file.exists() else {}
        self.demo["keys"] = seed_demo(self.demo.get("keys", {}))
        if "portal" not in self.demo:
            seed_usage()
            self.demo["portal"] = secrets.token_urlsafe(12)
            seed_portal(self.demo["portal"])
        self._make_admin()
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(self.demo, out)

    def _seed_basics(self) -> None:
        """A catalogue to begin with and nobody in it; the dashboard says what to do next."""
        from billing.demo.tenants import seed_basics

        file = self.data / "demo.json"
        self.demo = json.loads(file.read_text()) if file.exists() else {}
        seed_basics()
        self._make_admin()
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(self.demo, out)

    def _make_admin(self) -> None:
        from django.contrib.auth import get_user_model

        users = get_user_model().objects
        if users.filter(username="admin").exists():
            return
        self.demo["password"] = secrets.token_urlsafe(12)
        users.create_superuser("admin", password=self.demo["password"])

    def _processes(self) -> list[Process]:
        descriptor = self.listener.fileno()
        # Libraries warn of what is meant to be so here: the worker of root, static files from their apps.
        quiet = [PYTHON, "-W", "ignore"]
        web = [*quiet, "-m", "gateway_project.web"]
        workers = max(1, env.integer("WEB_WORKERS", 1))
        celery = [*quiet, "-m", "celery", "-A", "gateway_project", "--quiet"]
        processes = [
            Process(
                f"web.{number}" if workers > 1 else "web", web, {"LISTEN_FD": str(descriptor)}, (descriptor,)
            )
            for number in range(1, workers + 1)
        ]
        processes += [
            Process("ledger", [PYTHON, "manage.py", "ledger"]),
            Process("worker", [*celery, "worker", "--loglevel", "ERROR", "--concurrency", "1"]),
            Process(
                "beat",
                [*celery, "beat", "--loglevel", "ERROR", "--schedule", str(self.data / "beat")],
            ),
        ]
        if self.sandbox:
            processes.append(
                Process("sandbox", [PYTHON, "-m", "proxy.sandbox", "--port", str(self.sandbox_port)])
            )
        return processes

    async def _watch_postgres(self) -> None:
        """The embedded servers are no children of the supervisor; they are started again all the same."""
        while True:
            await asyncio.sleep(1)
            try:
                if self.embedded_postgres and postgres_pid(self.data / "postgres") is None:
                    say("postgresql has ended; starting it again")
                    await asyncio.to_thread(self._start_postgres)
                if self.redis is not None and self.redis.poll() is not None:
                    say("redis has ended; starting it again")
                    await asyncio.to_thread(self._start_redis)
            except EmbeddedServiceError as error:
                # A killed server's children hold its memory a moment longer: the next round tries again.
                say(str(error))

    async def _greet(self, began: float) -> None:
        base = f"http://127.0.0.1:{self.port}"
        while not await asyncio.to_thread(_ready, f"{base}/readyz"):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.1)
        say("")
        say(f"  Tenantry is ready after {time.monotonic() - began:.1f} s.")
        if self.sandbox:
            say("")
            say("  *** SANDBOX: no EZAI_API_KEY is set. Answers come from a stand-in and cost nothing. ***")
        say("")
        say(f"  Console  {base}/admin/   user admin   password {self.demo.get('password', '(yours)')}")
        if "portal" in self.demo:
            say(f"  Portal   {base}/portal/  user portal  password {self.demo['portal']}")
        say(f"  API      {base}/api/docs/")
        for slug, key in self.demo.get("keys", {}).items():
            say(f"  Key      {slug:<12} {key}")
        if key := self.demo.get("keys", {}).get("acme-corp"):
            say("")
            say("  Try it:")
            say("")
            say(f"  curl -i {base}/v1/messages \\")
            say(f"    -H 'x-api-key: {key}' -H 'anthropic-version: 2023-06-01' \\")
            say("    -H 'content-type: application/json' \\")
            say(
                """    -d '{"model":"claude-sonnet-4-20250514","max_tokens":100,"""
                """"messages":[{"role":"user","content":"Hello"}]}'"""
            )
        say("")


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own loopback address
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


if __name__ == "__main__":
    main()
