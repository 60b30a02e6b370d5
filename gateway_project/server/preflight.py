"""What `make up` checks before it starts anything: settings, data folder, port, secret key.

Each problem is one sentence that says what to do.
"""

import ast
import contextlib
import errno
import fcntl
import os
import pwd
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gateway_project.ground import env
from gateway_project.server.embedded import write_private
from gateway_project.server.server_account import server_account, share_with

SETTINGS = Path(__file__).parents[1] / "settings.py"
_LEAST_FREE = 256 * 1024 * 1024
_PORT_SECONDS = 3.0
_CHECKED = ("integer", "number", "flag", "choice", "pairs", "origin", "web_address")
# Our own files in DATA_DIR.
_OURS = (
    "secret_key", "demo.json", "up.lock", "postgres.url", "redis.url", "redis.lock", "prepared.json", "settings.seen",
    "beat", "beat.db", "beat.dat", "beat.bak", "beat.dir", "redis", "metrics", "logs",
)  # fmt: skip


class UpError(Exception):
    """`make up` cannot start; the message says why and what to do."""


def check_values() -> None:
    """Read every number, flag and choice as the settings will. Raises ImproperlyConfigured."""
    for reader, arguments, bounds in _variables(SETTINGS.read_text()):
        # A computed default is not known here, and not needed, since the variable is set.
        if reader in _CHECKED and os.environ.get(str(arguments[0])):
            getattr(env, reader)(*arguments, **bounds)
    env.flag("DEMO")
    env.shutdown_grace()


def _variables(source: str) -> Iterator[tuple[str, list[Any], dict[str, Any]]]:
    """The settings' calls of `env.integer` and its siblings, with their arguments.

    The source is parsed, since importing it takes half a second.
    """
    for call in ast.walk(ast.parse(source)):
        match call:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="env"), attr=reader), args=[ast.Constant(), *_]
            ):
                arguments = [each.value if isinstance(each, ast.Constant) else 0 for each in call.args]
                named = {each.arg: each.value for each in call.keywords if each.arg}
                bounds = {arg: value.value for arg, value in named.items() if isinstance(value, ast.Constant)}
                yield reader, arguments, bounds


def variable_names() -> list[str]:
    """The names of all variables that the settings read."""
    return sorted({str(arguments[0]) for _, arguments, _ in _variables(SETTINGS.read_text())})


def open_data_folder(data: Path) -> IO[str]:
    """Make the folder if needed, and make it private. Returns its lock, which is held while the file is open."""
    try:
        if not data.is_dir():
            data.parent.mkdir(parents=True, exist_ok=True)
            data.mkdir(mode=0o700, exist_ok=True)  # another start may just have made it
            if not os.environ.get("DATABASE_URL"):
                share_with(server_account(), data)
        elif data == SETTINGS.parent.parent / ".data" and data.stat().st_uid == os.geteuid():
            _take_back(data)
        _require_owner(data)
        _make_private(data)
        file = (data / "up.lock").open("a+")
    except OSError as error:
        raise UpError(
            f"DATA_DIR {data} cannot be used: {error.strerror}. "
            "Set DATA_DIR to a folder that you can write to."
        ) from error
    free = shutil.disk_usage(data).free
    if free < _LEAST_FREE:
        raise UpError(
            f"Only {free // 2**20} MB are free on the disk of {data}. PostgreSQL and Redis need at least "
            f"{_LEAST_FREE // 2**20} MB. Free some space, or set DATA_DIR to a folder on another disk."
        )
    return _locked(file, data)


def _take_back(data: Path) -> None:
    """Make the folder ours again, where an older version left it open to everybody."""
    if data.stat().st_mode & 0o007:
        data.chmod(0o700)
        if not os.environ.get("DATABASE_URL"):
            share_with(server_account(), data)


def _require_owner(data: Path) -> None:
    for name in ("up.lock", "secret_key"):
        file = data / name
        with contextlib.suppress(FileNotFoundError):
            if (owner := file.stat().st_uid) != os.geteuid():
                raise UpError(
                    f"{data} belongs to {_user(owner)}, who started Tenantry there before. "
                    f"Start it as {_user(owner)}, or set DATA_DIR and PORT to start your own installation."
                )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _make_private(data: Path) -> None:
    for name in _OURS:
        path = data / name
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mode & 0o077:
                path.chmod(0o700 if path.is_dir() else 0o600)


def _locked(file: IO[str], data: Path) -> IO[str]:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        raise UpError(
            f"Tenantry is already running in {data} ({file.read().strip() or 'process unknown'}). "
            "Stop it first, or set a different DATA_DIR and PORT."
        ) from None
    file.truncate(0)
    file.write(
        f"process {os.getpid()}, port {env.text('PORT', '8000')}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
    )
    file.flush()
    return file


def listen(port: int) -> socket.socket:
    """The socket that all web processes share."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    deadline = time.monotonic() + _PORT_SECONDS
    while True:
        try:
            listener.bind(("127.0.0.1", port))
        except PermissionError:
            raise UpError(
                f"Only root can use port {port} here. Choose a port from 1024 up, for example PORT=8000."
            ) from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise UpError(f"Port {port} cannot be used: {error.strerror}.") from error
            # Processes of a killed `make up` may still hold it for a moment.
            if time.monotonic() > deadline:
                raise UpError(
                    f"Port {port} is taken{_by_whom(port)}. "
                    f"Stop what listens there, or choose another: PORT={port + 1 if port < 65535 else 8001}."
                ) from None
            time.sleep(0.1)
        else:
            listener.listen(2048)
            listener.set_inheritable(True)
            return listener


def _by_whom(port: int) -> str:
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""


def secret_key(data: Path) -> str:
    """The installation's secret key, made at the first start."""
    import secrets

    file = data / "secret_key"
    if not file.exists():
        write_private(file, secrets.token_urlsafe(50))
    if not (key := file.read_text().strip()):
        raise UpError(
            f"{file} is empty. Restore the installation's key from a backup. Or remove the file to create a new key: "
            "then everyone is logged out, and secrets not encrypted with SECRETS_KEYS are lost."
        )
    return key
