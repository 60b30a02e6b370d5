"""Installs a lock file into this environment and says how far it is: `python requirements/install.py base`.

On a terminal one line that changes; elsewhere a line now and then. All that pip says is kept in the environment.
"""

import contextlib
import importlib.util
import re
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", re.MULTILINE)
_COLLECTING = re.compile(r"^Collecting ([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)")
_PRESENT = re.compile(r"^Requirement already satisfied: ")
_QUIET_SECONDS = 10.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_NETWORK = (
    "Connection",
    "Temporary failure in name resolution",
    "Max retries",
    "timed out",
    "No matching distribution",
)


class Progress:
    """One line, as far as it is."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._said = time.monotonic()
        self._width = 0

    def show(self, line: str, *, last: bool = False) -> None:
        if self._terminal:
            _say(f"\r  {line:<{self._width}}", end="\n" if last else "")
            self._width = len(line)
        elif last or time.monotonic() - self._said > _QUIET_SECONDS:
            self._said = time.monotonic()
            _say(f"  {line}")


def _say(line: str, *, end: str = "\n") -> None:
    """Whoever reads it may have left: no reason to stop half way."""
    with contextlib.suppress(OSError):
        print(line, end=end, flush=True)


def _end(number: int, frame: object) -> None:
    sys.exit(128 + number)


def main(name: str) -> int:
    try:
        if importlib.util.find_spec("pip") is None:  # whoever made this environment was stopped half way
            subprocess.run([sys.executable, "-m", "ensurepip"], check=True, capture_output=True)
        return _install(name)
    except SystemExit:
        _say("\n  Stopped. The next `make up` continues from here.")
        raise
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"\n  {error}\n  Remove .venv and run `make up` again.", file=sys.stderr)
        return 1


def _install(name: str) -> int:
    lock = HERE / f"{name}.txt"
    total = len(_PINNED.findall(lock.read_text()))
    progress = Progress()
    _say(f"  Installing {total} packages, once …")
    began = time.monotonic()
    log = Path(sys.prefix) / f"install-{name}.log"
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar", "off", "--require-hashes", "-r", str(lock)]
    with log.open("w") as out, _ended_with_us(command) as pip:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        assert pip.stdout is not None
        done = 0
        unpacked = threading.Event()
        for line in pip.stdout:
            out.write(line)
            if found := _COLLECTING.match(line):
                done += 1
                progress.show(f"Fetching {done} of {total}: {found[1]} {found[2]}")
            elif _PRESENT.match(line):
                done += 1
            elif line.startswith("Installing collected packages:"):
                threading.Thread(
                    target=_count, args=(progress, line.count(",") + 1, unpacked), daemon=True
                ).start()
        unpacked.set()
    if pip.returncode:
        print(f"\n  {_why(log.read_text())}\n  The full pip output is in {log}", file=sys.stderr)
        return 1
    progress.show(f"Installed {total} packages in {time.monotonic() - began:.0f} s", last=True)
    return 0


@contextlib.contextmanager
def _ended_with_us(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """The command as a process that ends before we do: two of them would write the same files.

    Signals wait until the caller unblocks them: one that came between the start of the process and the caller's
    block would leave it running. The process inherits that, which is no loss: we end it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    with subprocess.Popen(  # noqa: S603 - pip
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def _count(progress: Progress, wanted: int, ended: threading.Event) -> None:
    """How many packages are unpacked: pip says nothing while it does that."""
    site = Path(sysconfig.get_paths()["purelib"])
    before = _unpacked(site)
    while not ended.wait(0.5):
        progress.show(f"Unpacking {min(wanted, _unpacked(site) - before)} of {wanted}")


def _unpacked(site: Path) -> int:
    return sum(1 for _ in site.glob("*.dist-info"))


def _why(said: str) -> str:
    """pip's own words for what went wrong, and what to do where that is known."""
    errors = [line.strip() for line in said.splitlines() if line.startswith("ERROR:")]
    why = errors[0] if errors else (said.strip().splitlines() or ["pip printed nothing."])[-1]
    if "No space left" in said:
        return f"{why} Free some space and run `make up` again."
    if any(each in said for each in _NETWORK):
        return (
            f"{why} Check that this machine can reach the package index (see PIP_INDEX_URL and HTTPS_PROXY)."
        )
    return why


if __name__ == "__main__":
    for number in _SIGNALS:
        signal.signal(number, _end)
    sys.exit(main(sys.argv[1]))
