"""The output of `make up`'s processes: complete in a bounded file, and on the terminal without tracebacks."""

import re
from pathlib import Path

LARGEST = 5_000_000  # bytes; one previous file is kept beside it
_TRACEBACK = re.compile(r"^\s*(\+ )?(Exception Group )?Traceback \(most recent call last\):")
# The line that ends a traceback: `package.module.SomeError: why`.
_EXCEPTION = re.compile(r"^(?P<name>[A-Za-z_][\w.]*)(: (?P<message>.*))?$")
_BETWEEN = ("During handling of the above", "The above exception was the direct cause")
_ADVICE = (
    ("ModuleNotFoundError", "Install again: rm .venv/installed && make up"),
    ("ImportError", "Install again: rm .venv/installed && make up"),
    ("SyntaxError", "The code was changed or does not match this Python version: see git status"),
    ("ImproperlyConfigured", "Change that setting and start again"),
    ("PermissionError", "Check who owns that file: an earlier `sudo make up` leaves files owned by root"),
    (
        "OperationalError",
        "PostgreSQL is not responding: check DATABASE_URL, or logs/postgres.log in DATA_DIR",
    ),
    ("ConnectionError", "Redis is not responding: check REDIS_URL, or logs/redis.log in DATA_DIR"),
    ("MemoryError", "This machine does not have enough memory"),
)


class ProcessLog:
    """The log file of one process."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.parent.mkdir(mode=0o700, exist_ok=True)
        self._out = file.open("a", errors="replace", buffering=1)

    def write(self, line: str) -> None:
        if self._out.tell() > LARGEST:
            self._out.close()
            self.file.replace(self.file.with_suffix(".log.1"))
            self._out = self.file.open("a", errors="replace", buffering=1)
        self._out.write(line + "\n")

    def close(self) -> None:
        self._out.close()


def bound(file: Path) -> None:
    """Rotate a file that a server itself appends to, once it is too large. One previous file is kept."""
    if file.exists() and file.stat().st_size > LARGEST:
        file.with_suffix(".log.1").write_bytes(file.read_bytes()[-LARGEST:])
        with file.open("r+b") as out:
            out.truncate(0)


class Fold:
    """Takes a process's lines and returns those to show: of a traceback only the last line."""

    def __init__(self) -> None:
        self._inside = False
        self.last = ""  # the last line that matters: if the process ended, it says why
        self._of_traceback = False

    def shown(self, line: str) -> str | None:
        if _TRACEBACK.match(line):
            self._inside = True
            return None
        if line.startswith(_BETWEEN):
            return None
        if self._inside:
            if line[:1].isspace() or not line:
                return None
            self._inside = False
            self.last, self._of_traceback = line, True
            return line
        if line.strip():
            if not self._of_traceback:
                self.last = line
            return line
        return None


def reason(last: str, code: int | None) -> str:
    """Why a process ended, and what to do, in one line."""
    if not last:
        ended = (
            f"it was stopped by signal {-code}" if code is not None and code < 0 else f"it exited with {code}"
        )
        return f"{ended} and printed nothing."
    found = _EXCEPTION.match(last)
    if found is None:
        return f"{last.strip().rstrip('.')}."
    name = found["name"].rpartition(".")[2]
    message = (found["message"] or name).rstrip(".")
    advice = next((advice for error, advice in _ADVICE if error in name), "")
    return f"{message}. {advice}." if advice else f"{name}: {message}."
