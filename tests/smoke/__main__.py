"""`python -m tests.smoke`: one line a door; the end of the log and exit 1 where one stays shut."""

import argparse
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.smoke.doors import DemoDoors, OperatorDoors
from tests.smoke.installation import Installation, copy_project, end_all
from tests.smoke.receiver import Receiver
from tests.smoke.visitor import DoorFailed

LAST_LINES = 40
HOST = "gateway.example.com"


class Run:
    """A folder of its own below the machine's temporary one, and what was gone through so far."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tenantry-smoke-")).resolve()
        self.folder.chmod(0o755)  # our own, new and empty
        self.home = self.folder / "home"
        self.project = self.home / "tenantry"
        self.receiver = Receiver()
        self.began = time.monotonic()
        self.current: Installation | None = None

    def remove(self) -> None:
        """Its folder, and PostgreSQL's files where its user could not enter that."""
        for data in (self.home / "data", self.folder / "data", self.project / ".data"):
            if (link := data / "postgres").is_symlink():
                shutil.rmtree(link.resolve(), ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def door(self, title: str, pass_through: Callable[[], object]) -> None:
        began = time.monotonic()
        name = f"{self.current.name}: {title}" if self.current else title
        try:
            pass_through()
        except DoorFailed as failure:
            print(f"FAILED  {name}: {failure}", flush=True)
            raise
        except Exception as error:
            print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
            raise DoorFailed(title) from error
        print(f"ok  {name}  {time.monotonic() - began:.1f} s", flush=True)

    @contextmanager
    def installation(self, name: str, *, web_workers: int = 1, **settings: str) -> Iterator[Installation]:
        """Started and ready; in the end every process is looked at, then ended by SIGTERM."""
        settings |= {"WEBHOOK_ALLOW_HOSTS": self.receiver.host}
        self.current = it = Installation(self.project, run=self.folder, name=name, settings=settings)
        it.start()
        self.door("make up is ready", it.wait_until_ready)
        processes = partial(it.check_processes, web_workers=web_workers)
        self.door("every process runs since the start", processes)
        yield it
        self.door("and still does", processes)
        self.door("no traceback, no restart", it.check_output)
        self.door("SIGTERM: exit 0, nothing left", it.stop)
        self.door("nothing in the output until its end", it.check_output)
        self.current = None


def defaults(run: Run) -> None:
    """A newcomer's first ten minutes."""
    with run.installation("defaults") as it:
        doors = DemoDoors(it, run.receiver)
        run.door("modules and commands", doors.modules_and_commands)
        run.door("greeting and curl", doors.greeting)
        run.door("JSON call", doors.json_call)
        run.door("JSON call, OpenAI", doors.openai_call)
        run.door("streams", doors.stream)
        run.door("receipt", doors.receipt)
        run.door("portal's test event", doors.portal_test_event)
        run.door("CSV export", lambda: doors.csv_export("admin", doors.admin))
        run.door("books", doors.books)


def production(run: Run) -> None:
    """As it is deployed: a public name behind TLS, no demo, several web processes."""
    token = secrets.token_urlsafe(32)
    with run.installation(
        "production",
        web_workers=2,
        WEB_WORKERS="2",
        ALLOWED_HOSTS=HOST,
        DATA_DIR=str(run.folder / "data"),
        DEMO="0",
        LOG_FORMAT="json",
        METRICS_TOKEN=token,
        SECRET_KEY=secrets.token_urlsafe(50),
        CLOSE_PERIODS_EVERY="10",
    ) as it:
        doors = OperatorDoors(it, run.receiver, host=HOST)
        run.door("operator", doors.operator)
        run.door("tenant, key, webhook", doors.tenant)
        run.door("JSON call", doors.json_call)
        run.door("streams", doors.stream)
        run.door("budget crossing and its webhook", doors.budget_crossing)
        run.door("month closed by beat", doors.closed_month)
        run.door("statement PDF", doors.statement_pdf)
        run.door("CSV export", lambda: doors.csv_export(doors.account["username"], doors.account["password"]))
        run.door("metrics", lambda: doors.metrics(token))
        run.door("books", doors.books)


def closed_home(run: Run) -> None:
    """In a home that only its owner may enter, as root's is on every fresh server. Its mode stays what it was."""
    run.home.chmod(0o700)
    with run.installation("closed home", DATA_DIR=str(run.home / "data")) as it:
        doors = DemoDoors(it, run.receiver)
        run.door("greeting and curl", doors.greeting)
        run.door("JSON call", doors.json_call)
    run.door("the home is as closed as before", lambda: _closed(run.home))


def _closed(folder: Path) -> None:
    if mode := folder.stat().st_mode & 0o077:
        raise DoorFailed(f"{folder} was opened to others: {mode:o}")


ROUNDS = {"defaults": defaults, "production": production, "closed-home": closed_home}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make smoke", description=__doc__)
    parser.add_argument("rounds", nargs="*", metavar="ROUND", help=f"of {', '.join(ROUNDS)}; all by default")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    arguments = parser.parse_args()
    if unknown := set(arguments.rounds) - set(ROUNDS):
        parser.error(f"there is no round {', '.join(sorted(unknown))}")
    run = Run()
    passed = False
    try:
        copy_project(run.project)
        for name in arguments.rounds or ROUNDS:
            ROUNDS[name](run)
        passed = True
    except DoorFailed:
        _show_log(run.current)
    finally:
        end_all(run.folder)
        run.receiver.close()
        if passed and not arguments.keep:
            run.remove()
        else:
            print(f"Kept: {run.folder}")
    print(f"{'Passed' if passed else 'Failed'} after {time.monotonic() - run.began:.0f} s.")
    sys.exit(not passed)


def _show_log(installation: Installation | None) -> None:
    if installation is not None and installation.log.exists():
        lines = installation.written().splitlines()[-LAST_LINES:]
        print("\n".join([f"--- the last lines of {installation.log.name} ---", *lines]))


if __name__ == "__main__":
    main()
