"""One installation: a folder with the project's files, and `make up` in it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.smoke import processes
from tests.smoke.visitor import DoorFailed, Visitor

HOME = Path(__file__).resolve().parents[2]
T = TypeVar("T")
# What `make up` may see of the caller's environment: how to find programs and packages, and no setting of ours.
_KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TERM|TMPDIR|LANG|LC_.*|PIP_.*|PYENV_.*|XDG_.*|SSL_CERT_.*|.*_CA_BUNDLE|.*_proxy",
    re.IGNORECASE,
)
# A name of the Procfile -> what its process has in its command.
KINDS = {"web": "gateway_project.web", "ledger": "manage.py ledger", "worker": " worker ", "beat": " beat "}
_AGAIN = re.compile(r"start(ing|ed) (it )?again|restart", re.IGNORECASE)
INSTALL_SECONDS = 900


def eventually(question: Callable[[], T | None], *, what: str, seconds: float = 120) -> T:
    """The first answer that is one."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        if time.monotonic() > deadline:
            raise DoorFailed(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.2)
    return answer


def copy_project(to: Path) -> None:
    """The files that git has or would take: what a fresh clone of the next commit is."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=HOME,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = HOME / name, to / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


class Installation:
    """`make up` with `settings` in `folder`, whose parent `run` marks all processes."""

    def __init__(self, folder: Path, *, run: Path, name: str, settings: Mapping[str, str]) -> None:
        self.folder, self.run, self.name = folder, run, name
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.environment = {key: value for key, value in os.environ.items() if _KEPT.fullmatch(key)}
        self.environment |= {processes.MARK: str(run), "PORT": str(self.port), **settings}
        self.data = Path(settings.get("DATA_DIR", folder / ".data"))
        self.log = run / f"{name}.log"
        self.seen: dict[str, set[int]] = {kind: set() for kind in KINDS}
        self.make: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("wb") as out:
            self.make = subprocess.Popen(
                ["make", "--no-print-directory", "up", f"PYTHON={sys.executable}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """`make up` has said so, and `/readyz` says so to a probe that knows no name."""
        eventually(
            lambda: "Tenantry is ready" in self.written() if self.look() else None,
            what="'Tenantry is ready'",
            seconds=INSTALL_SECONDS,
        )
        Visitor(self.port).get("/readyz").expect(200)

    def look(self) -> bool:
        """Note who runs. Raises DoorFailed once `make up` has ended."""
        assert self.make is not None
        if (code := self.make.poll()) is not None:
            raise DoorFailed(f"make up ended with {code}")
        up = self._up()
        for each in processes.of_run(self.run):
            for kind, part in KINDS.items():
                if up and each.parent == up.pid and part in each.command:
                    self.seen[kind].add(each.pid)
        return True

    def check_processes(self, *, web_workers: int) -> None:
        """Every process of the Procfile is alive, and none was ever started twice."""
        named = {line.partition(":")[0] for line in (self.folder / "Procfile").read_text().splitlines()}
        if named - set(KINDS):
            raise DoorFailed(f"the Procfile has {sorted(named - set(KINDS))}, which this check does not know")
        self.look()
        alive = {each.pid for each in processes.of_run(self.run)}
        for kind, pids in self.seen.items():
            wanted = web_workers if kind == "web" else 1
            if len(pids) != wanted or not pids <= alive:
                raise DoorFailed(
                    f"{kind} was started {len(pids)} times, of which {len(pids & alive)} live; {wanted} should"
                )

    def check_output(self) -> None:
        """No traceback and no restart, on the terminal or in the files of single processes."""
        for file in (self.log, *self.data.glob("logs/*.log")):
            for line in file.read_text(errors="replace").splitlines():
                if "Traceback (most recent call last)" in line or _AGAIN.search(line):
                    raise DoorFailed(f"{file.name}: {line}")

    def stop(self) -> None:
        """SIGTERM, as a machine that shuts down sends it: exit 0, and nothing is left running."""
        assert self.make is not None
        if up := self._up():
            os.kill(up.pid, signal.SIGTERM)
        try:
            code = self.make.wait(90)
        except subprocess.TimeoutExpired:
            raise DoorFailed("make up still runs 90 s after SIGTERM") from None
        if code != 0:
            raise DoorFailed(f"make up ended with {code} after SIGTERM")
        eventually(lambda: not processes.of_run(self.run), what="the end of all processes", seconds=20)

    def manage(self, *arguments: str, **environment: str) -> str:
        """What `manage.py` prints, run beside the installation. Raises DoorFailed if it ends otherwise than well."""
        return self.python("manage.py", *arguments, **environment)

    def python(self, *arguments: str, **environment: str) -> str:
        ended = subprocess.run(
            [str(self.folder / ".venv/bin/python"), "-W", "ignore", *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        if ended.returncode != 0:
            raise DoorFailed(
                f"{' '.join(arguments[:3])} ended with {ended.returncode}: {(ended.stdout + ended.stderr)[-800:]}"
            )
        return ended.stdout

    def operator(self, name: str) -> dict[str, str]:
        """A new operator: username, password, token."""
        made: dict[str, str] = json.loads(self.manage("create_operator", name))
        return made

    def written(self) -> str:
        return self.log.read_text(errors="replace")

    def _up(self) -> processes.Process | None:
        """The process that `make` started."""
        assert self.make is not None
        ours: Iterable[Any] = processes.of_run(self.run)
        return next((each for each in ours if each.command.rstrip().endswith("gateway_project.up")), None)


def end_all(run: Path) -> None:
    """End whatever of this run still lives, first in peace."""
    for number, wait in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        for each in processes.of_run(run):
            try:
                os.kill(each.pid, number)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + wait
        while processes.of_run(run) and time.monotonic() < deadline:
            time.sleep(0.2)
