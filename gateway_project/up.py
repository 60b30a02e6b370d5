"""`make up`: a whole installation on this machine, from nothing to a curl that works."""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from django.core.exceptions import ImproperlyConfigured

from gateway_project.ground import env
from gateway_project.ground.logs import is_json, line_of
from gateway_project.server.banner import (
    addresses,
    greeting,
    memory,
    open_output,
    read_demo,
    say,
    step,
    who_is_missing,
    write,
)
from gateway_project.server.embedded import EmbeddedRedis, EmbeddedServiceError
from gateway_project.server.embedded_postgres import EmbeddedPostgres
from gateway_project.server.preflight import (
    UpError,
    check_values,
    listen,
    open_data_folder,
    secret_key,
    variable_names,
)
from gateway_project.server.prepared import (
    is_prepared,
    note_prepared,
    note_settings,
    seen_settings,
    settings_changed,
)
from gateway_project.server.process_output import Fold, ProcessLog, bound, reason
from gateway_project.server.supervisor import HOME, Process, Supervisor

# Libraries warn about what is intended here: a worker run by root, static files from the apps' folders.
PYTHON = [sys.executable, "-W", "ignore"]
PATIENCE_SECONDS = 20.0


def main() -> None:
    open_output()
    os.umask(0o077)
    _end_on_signals()
    try:
        began = env.integer("BEGAN", 0) or time.time()  # when `make` was called
        data = env.folder("DATA_DIR", HOME / ".data")
        check_values()
        port = env.integer("PORT", 8000, least=1, most=65535)
        lock = open_data_folder(data)
        installation = Installation(data, port, listen(port))
    except (UpError, EmbeddedServiceError, ImproperlyConfigured) as error:
        sys.exit(_last_word(str(error)))
    failure: str | None = None
    ran = False
    try:
        installation.prepare()
        ran = True
        failure = asyncio.run(installation.run(began))
    except (UpError, EmbeddedServiceError, ImproperlyConfigured) as error:
        failure = str(error)
    except OSError as error:
        failure = _not_usable(data, error)
    finally:
        installation.stop_services()
        lock.close()
    if ran:
        say("All processes have stopped. The data is kept in " + str(data))
    if failure:
        sys.exit(_last_word(failure))


def _last_word(why: str) -> str:
    return line_of("tenantry.up", f"make up: {why}", level="CRITICAL")


def _not_usable(data: Path, error: OSError) -> str:
    """What the operating system refused, and for which file if it says so."""
    named = f"{error.filename}: " if error.filename else ""
    why = error.strerror or str(error)
    return (
        f"{named}{why}. Check that the disk of {data} has free space and that you own everything in it, "
        "or set DATA_DIR to another folder."
    )


def _end_on_signals() -> None:
    """Handle signals until the supervisor does: end what was started before this process ends."""

    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    for number in _signals():
        signal.signal(number, end)


def _signals() -> list[signal.Signals]:
    """The signals that end `make up`. Under `nohup` it goes on when the terminal is closed."""
    kept = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([] if kept else [signal.SIGHUP])]


class Installation:
    """What `make up` runs: services, migrations, the demo, processes."""

    def __init__(self, data: Path, port: int, listener: socket.socket) -> None:
        self.data, self.port, self.listener = data, port, listener
        self.postgres = None if os.environ.get("DATABASE_URL") else EmbeddedPostgres(data)
        self.redis = None if os.environ.get("REDIS_URL") else EmbeddedRedis(data)
        self.sandbox = not os.environ.get("EZAI_API_KEY")
        self.workers = env.integer("WEB_WORKERS", 1, least=1)

    def prepare(self) -> None:
        """Start services, migrate the schema, and seed the demo. Raises UpError, EmbeddedServiceError."""
        seen = seen_settings(variable_names())  # before our own addresses are set, which differ at each start
        self._set_environment()
        if changed := settings_changed(self.data, seen):
            self._run_to_end("settings", ["-c", "from django.conf import settings; settings.DEBUG"])
        self._check_stores()
        self._start_services()
        url = os.environ["DATABASE_URL"]
        if not is_prepared(self.data, url):
            self._run_to_end("prepare", ["-m", "gateway_project.server.prepare"])
            note_prepared(self.data, url)
        if changed:
            note_settings(self.data, seen)

    async def run(self, began: float) -> str | None:
        """Keep everything running until it is stopped. Returns why it could not start, if it could not."""
        supervisor = Supervisor(self._processes(), logs=self.data / "logs", say=write)
        loop = asyncio.get_running_loop()
        for number in _signals():
            loop.add_signal_handler(number, supervisor.stop)
        loop.add_signal_handler(signal.SIGUSR2, supervisor.roll)
        others = [
            asyncio.create_task(self._watch_services()),
            asyncio.create_task(self._greet(supervisor, began)),
        ]
        try:
            await supervisor.run()
        finally:
            for task in others:
                task.cancel()
        return supervisor.failure

    def stop_services(self) -> None:
        for service in (self.redis, self.postgres):
            if service is not None:
                service.stop()

    def _set_environment(self) -> None:
        os.environ["DATA_DIR"] = str(self.data)
        os.environ["PORT"] = str(self.port)
        os.environ["UP_RUN"] = secrets.token_hex(8)
        if not os.environ.get("SECRET_KEY"):
            os.environ["SECRET_KEY"] = secret_key(self.data)
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

    def _make_room_for_metrics(self) -> None:
        """Empty the folder of metrics, since counters of ended processes would be added to the current ones."""
        folder = self.data / "metrics"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)

    def _check_stores(self) -> None:
        """Check that a PostgreSQL and a Redis given by the environment are reachable and new enough."""
        if self.postgres is not None and self.redis is not None:
            return
        from gateway_project.server.store_versions import StoreError, check_postgres, check_redis

        try:
            if self.postgres is None:
                check_postgres(os.environ["DATABASE_URL"])
            if self.redis is None and (warning := check_redis(os.environ["REDIS_URL"])):
                say(f"  Warning: {warning}")
        except StoreError as error:
            raise UpError(str(error)) from error

    def _start_services(self) -> None:
        ours = [name for name, service in (("PostgreSQL", self.postgres), ("Redis", self.redis)) if service]
        if not ours:
            return
        with step(f"Starting {' and '.join(ours)}"):
            for service in (self.redis, self.postgres):
                if service is not None:
                    service.launch()
            if self.redis is not None:
                os.environ["REDIS_URL"] = self.redis.wait_until_ready()
            if self.postgres is not None:
                os.environ["DATABASE_URL"] = self.postgres.wait_until_ready()
        if self.postgres is not None and self.postgres.folder.parent != self.data:
            say(f"  PostgreSQL's files are in {self.postgres.folder}: its user cannot enter {self.data}.")

    def _run_to_end(self, name: str, arguments: list[str]) -> None:
        """Run a Python process of ours, which must succeed. Its steps are shown; its other output goes to its log."""
        log, fold = ProcessLog(self.data / "logs" / f"{name}.log"), Fold()
        child = subprocess.Popen(  # noqa: S603 - our own command
            [*PYTHON, *arguments], cwd=HOME, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        assert child.stderr is not None
        try:
            for line in child.stderr:
                log.write(line.rstrip())
                fold.shown(line.rstrip())
            code = child.wait()
        finally:
            child.kill()
            log.close()
        if code:
            if code < 0:
                say("")  # ends the line it had begun
            raise UpError(f"{reason(fold.last, code)} Full output: {log.file}")

    def _processes(self) -> list[Process]:
        descriptor = self.listener.fileno()
        celery = [*PYTHON, "-m", "celery", "-A", "gateway_project", "--quiet"]
        names = [f"web.{number}" for number in range(1, self.workers + 1)] if self.workers > 1 else ["web"]
        processes = [
            Process(
                name,
                [*PYTHON, "-m", "gateway_project.web"],
                {"LISTEN_FD": str(descriptor)},
                (descriptor,),
                rolls=True,
            )
            for name in names
        ]
        processes += [
            Process("ledger", [*PYTHON, "manage.py", "ledger"]),
            # Threads: a second process for the tasks would cost another 100 MB.
            Process(
                "worker",
                [*celery, "worker", "--loglevel", "ERROR", "--pool", "threads", "--concurrency", "2"],
                {"CELERY_SKIP_CHECKS": "1"},  # Django's checks: `migrate` ran them
            ),
            Process(
                "beat",
                [*celery, "beat", "--loglevel", "ERROR", "--schedule", str(self.data / "beat")],
                {"CELERY_LOADER": "gateway_project.server.celery_loader:BareLoader"},
            ),
        ]
        if self.sandbox:
            sandbox = [*PYTHON, "-m", "proxy.sandbox", "--port", str(self.sandbox_port)]
            processes.append(Process("sandbox", sandbox))
        return processes

    async def _watch_services(self) -> None:
        """Restart the embedded servers if they end; from this thread, with which they end themselves."""
        while True:
            await asyncio.sleep(1)
            for name, service in (("PostgreSQL", self.postgres), ("Redis", self.redis)):
                if service is None:
                    continue
                bound(service.log)
                if not service.running:
                    say(f"{name} has exited; restarting it")
                    try:
                        service.launch()
                        await asyncio.to_thread(service.wait_until_ready)
                    except EmbeddedServiceError as error:
                        say(str(error))  # the next round tries again

    async def _greet(self, supervisor: Supervisor, began: float) -> None:
        """Print the greeting once web, ledger, worker and beat are ready."""
        base = f"http://127.0.0.1:{self.port}"
        waiting = time.monotonic()
        while missing := await asyncio.to_thread(who_is_missing, base):
            await asyncio.sleep(0.05)
            if time.monotonic() - waiting > PATIENCE_SECONDS:
                say(f"  Still waiting for {', '.join(missing)}. See the logs in {self.data / 'logs'}")
                waiting = time.monotonic()
        supervisor.settled()
        taken = await asyncio.to_thread(memory, os.getpid())
        say("")
        say(f"  Tenantry is ready after {time.time() - began:.1f} s, using {taken}.")
        demo = read_demo(self.data)
        for line in (
            addresses(base=base, demo=demo, file=self.data / "demo.json")
            if is_json()
            else greeting(base=base, demo=demo, sandbox=self.sandbox)
        ):
            say(line)


if __name__ == "__main__":
    main()
