"""The embedded PostgreSQL 18 for one machine: a real server from a wheel.

The wheel's own start-up is not used: it makes every parent folder readable by everybody, trusts everyone who reaches
its socket, and keeps a lock in /tmp that belongs to the machine's first user.
"""

import glob
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil

from gateway_project.server.embedded import (
    STOP_SECONDS,
    EmbeddedServiceError,
    dying_with_parent,
    last_line,
    write_private,
)
from gateway_project.server.server_account import postgres_folder, postgres_programs, server_account
from gateway_project.server.sockets import fits, private_folder

VERSION = "18"
START_SECONDS = 300.0  # after a crash it first replays its log
_SOCKET = ".s.PGSQL.5432"
_HBA = """\
# Written by `make up` at each start. There is no network, and no user of this machine is trusted without the password.
local all all scram-sha-256
local replication all scram-sha-256
"""


class EmbeddedPostgres:
    """PostgreSQL on its folder below DATA_DIR. `launch` it from the main thread, then `wait_until_ready`."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._address = data / "postgres.url"
        self.log = data / "logs" / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.running else None

    def launch(self) -> None:
        """Start the server, and make its database if there is none. Raises EmbeddedServiceError."""
        self._account = server_account()
        self._programs = postgres_programs(self._account)
        self.folder = postgres_folder(self._account, self._data).resolve()
        self.log.parent.mkdir(mode=0o700, exist_ok=True)
        self._end_what_is_left()
        self._make_database()
        self._socket_folder = self._short_folder()
        self._lock_the_door()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [
                    str(self._programs / "postgres"),
                    *("-D", str(self.folder), "-k", _as_one(self._socket_folder)),
                    *("-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"),
                    *("-c", "io_method=sync"),  # I/O workers would be idle processes here
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_ENVIRONMENT,
                preexec_fn=dying_with_parent(signal.SIGINT),
                **self._as_server(),
            )

    def wait_until_ready(self) -> str:
        """Wait until the server takes connections. Returns its URL. Raises EmbeddedServiceError."""
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            if not self.running or time.monotonic() > deadline:
                raise self._failure(self._reason())
            time.sleep(0.01)
        return self._address.read_text()

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop the server and wait for its end. SIGINT is its fast shutdown."""
        if self._process is None or not self.running:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.send_signal(
                signal.SIGQUIT
            )  # immediate, without a checkpoint: the next start replays the log
            self._process.wait()

    def _as_server(self) -> dict[str, Any]:
        return self._account.options() if self._account else {"cwd": "/"}

    def _failure(self, reason: str) -> EmbeddedServiceError:
        return EmbeddedServiceError(
            f"The embedded PostgreSQL did not start in {self.folder}: {reason} "
            f"See the full log in {self.log}, or set DATABASE_URL to your own server."
        )

    def _reason(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-50:]
        fatal = [line.partition("FATAL:")[2].strip() for line in lines if "FATAL:" in line]
        return f"{fatal[-1]}." if fatal else last_line(self.log)

    def _run(self, *command: str, given: str = "") -> None:
        """Run a command as the server's user, with `given` as its input. Raises EmbeddedServiceError."""
        done = subprocess.run(  # noqa: S603 - our own commands
            command,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            env=_ENVIRONMENT,
            preexec_fn=dying_with_parent(signal.SIGKILL),
            **self._as_server(),
        )
        if done.returncode or "FATAL" in done.stderr:
            said = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()]
            raise self._failure(f"{Path(command[0]).name}: {said[-1] if said else done.returncode}")

    def _end_what_is_left(self) -> None:
        """Stop a server that outlived its `make up`, and wait for the children of one that was killed."""
        file = self.folder / "postmaster.pid"
        if not file.exists():
            return
        deadline = time.monotonic() + STOP_SECONDS
        asked = False
        while left := _servers_on(self.folder):
            first = next((each for each in left if each.pid == _first_number(file)), left[0])
            if not asked:
                asked = True
                first.send_signal(signal.SIGINT)
            if time.monotonic() > deadline:
                raise EmbeddedServiceError(
                    f"A PostgreSQL server (process {first.pid}) is still using {self.folder} and does not stop. "
                    f"Stop it, for example with `kill -INT {first.pid}`, then start again."
                )
            time.sleep(0.05)
        # No server runs there. The pid in the file may be another process's by now, for which PostgreSQL would wait.
        file.unlink(missing_ok=True)

    def _make_database(self) -> None:
        file = self.folder / "PG_VERSION"
        if not file.exists():
            locale = [
                "--encoding=UTF8",
                "--locale=C",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
            ]
            self._finish_or_nothing(locale)
        elif (version := file.read_text().strip()) != VERSION:
            raise EmbeddedServiceError(
                f"{self.folder} was created by PostgreSQL {version}, but this is {VERSION}. Set DATABASE_URL to a "
                "server of that version, dump and restore its database (docs/operations.md), or move the folder away."
            )

    def _finish_or_nothing(self, locale: list[str]) -> None:
        """Make the database beside its folder and move it there: a half-made one would look like a database."""
        name = f"{self.folder.name}.unfinished-"
        for left in self.folder.parent.glob(f"{glob.escape(name)}*"):
            shutil.rmtree(left, ignore_errors=True)
        unfinished = self.folder.with_name(f"{name}{os.getpid()}")
        unfinished.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(unfinished, self._account.uid, self._account.gid)
        initdb = [str(self._programs / "initdb"), "-D", str(unfinished), "-U", "postgres"]
        # No login before `_lock_the_door` has set a password.
        self._run(*initdb, "--auth=reject", "--no-instructions", *locale)
        try:
            unfinished.replace(self.folder)
        except OSError as error:
            raise self._failure(
                f"{error.strerror}. It contains files but no database. Move them elsewhere."
            ) from error

    def _short_folder(self) -> Path:
        """The folder of its socket: its own, or a short one that is as private."""
        if fits(self.folder, _SOCKET):
            return self.folder
        return private_folder(self.folder, owner=self._account.uid if self._account else None)

    def _lock_the_door(self) -> None:
        """Require a password for the superuser. Older installations trusted everybody."""
        hba = self.folder / "pg_hba.conf"
        password = self._password()
        if password and hba.read_text() == _HBA:
            self._write_address(password)
            return
        password = secrets.token_urlsafe(24)
        self._write_address(password)
        single = [str(self._programs / "postgres"), "--single", "-D", str(self.folder), "postgres"]
        self._run(*single, given=f"ALTER ROLE postgres PASSWORD '{password}'\n")
        self._run("/bin/sh", "-c", f"cat > {shlex.quote(str(hba))}", given=_HBA)

    def _password(self) -> str:
        return urlsplit(self._address.read_text()).password or "" if self._address.exists() else ""

    def _write_address(self, password: str) -> None:
        host = quote(str(self._socket_folder), safe="/")
        write_private(self._address, f"postgresql://postgres:{password}@/postgres?host={host}")

    def _is_ready(self) -> bool:
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        mine = self._process is not None and lines[:1] == [str(self._process.pid)]
        return mine and len(lines) > 7 and lines[7].strip() == "ready"


# Not the caller's environment: a locale that is not installed would make initdb fail.
_ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _as_one(folder: Path) -> str:
    """`folder` quoted as one element of a list in PostgreSQL's configuration."""
    return '"' + str(folder).replace('"', '""') + '"'


def _first_number(file: Path) -> int:
    try:
        return int(file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return 0


def _servers_on(folder: Path) -> list[psutil.Process]:
    """PostgreSQL's processes that work in `folder`, which is their current directory."""
    found = []
    for process in psutil.process_iter(["name"]):
        try:
            if "postgres" in (process.info["name"] or "") and Path(process.cwd()) == folder:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
