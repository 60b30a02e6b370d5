"""Back-up and restore by the commands an operator types, on the real server."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from gateway_project.server import backup
from gateway_project.server.backup import BackupError, back_up, find_program, restore
from tests.factories import TenantFactory
from tests.folders import throwaway_folder

HOME = Path(__file__).resolve().parents[3]


@pytest.fixture
def empty_database():
    """Its URL; gone afterwards."""
    server = urlsplit(os.environ["DATABASE_URL"])
    name = f"restored_{os.getpid()}"
    with psycopg.connect(urlunsplit(server), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield urlunsplit(server._replace(path=f"/{name}"))
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def restoring_into(monkeypatch):
    """Where the next `restore` goes: it is a process of its own everywhere else."""

    def point(url: str) -> None:
        name = urlsplit(url).path.lstrip("/")
        monkeypatch.setitem(connection.settings_dict, "NAME", name)

    return point


@pytest.mark.django_db(transaction=True)
def test_what_was_backed_up_is_there_after_a_restore(tmp_path, empty_database, restoring_into, redis_server):
    TenantFactory(slug="kept")
    file = tmp_path / "tenantry.dump"
    call_command("backup", str(file), stdout=sys.stderr)

    redis_server.flushall()
    restoring_into(empty_database)
    call_command("restore", str(file), stdout=sys.stderr)

    with psycopg.connect(empty_database) as restored:
        assert restored.execute("SELECT slug FROM tenants_tenant").fetchall() == [("kept",)]
        # The rules that hold the ledger came along.
        triggers = "SELECT count(*) > 3 FROM pg_trigger WHERE NOT tgisinternal"
        assert restored.execute(triggers).fetchone() == (True,)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["tenantry.dump"]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_ever_overwritten(tmp_path, redis_server):
    file = tmp_path / "tenantry.dump"
    back_up(file)

    with pytest.raises(CommandError, match="already exists"):
        call_command("backup", str(file))
    with pytest.raises(CommandError, match=r"database has \d+ tables"):
        call_command("restore", str(file))
    redis_server.hset("{s0}:shard", "epoch", "of another ledger")
    with pytest.raises(CommandError, match="Redis holds the counters"):
        call_command("restore", str(file))


@pytest.mark.django_db(transaction=True)
def test_a_broken_file_leaves_the_database_empty(tmp_path, empty_database, restoring_into, redis_server):
    file = tmp_path / "tenantry.dump"
    back_up(file)
    file.write_bytes(file.read_bytes()[:20_000])
    restoring_into(empty_database)

    with pytest.raises(BackupError, match="pg_restore failed"):
        restore(file)

    with psycopg.connect(empty_database) as database:
        assert database.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (
            0,
        )


@pytest.mark.parametrize(
    ("make", "said"),
    [(lambda folder: folder / "none" / "x.dump", "no folder"), (lambda folder: folder, "already exists")],
)
def test_a_place_that_cannot_be_written_is_named(make, said, tmp_path):
    with pytest.raises(BackupError, match=said):
        back_up(make(tmp_path))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CommandError, match="no file"):
        call_command("restore", str(tmp_path / "none.dump"))


def test_the_oldest_program_that_is_not_older_than_the_server_is_taken(tmp_path, monkeypatch):
    programs = []
    for version in (15, 18, 17):
        program = tmp_path / f"pg_dump-{version}"
        program.write_text(f"#!/bin/sh\necho 'pg_dump (PostgreSQL) {version}.3 (Debian)'\n")
        program.chmod(0o755)
        programs.append(program)
    monkeypatch.setattr(backup, "_candidates", lambda name: programs)

    assert find_program("pg_dump", at_least=16).name == "pg_dump-17"
    with pytest.raises(BackupError, match=r"server is PostgreSQL 19, .* there is 15, 17, 18 here"):
        find_program("pg_dump", at_least=19)


def test_the_embedded_server_comes_with_its_own_programs():
    assert find_program("pg_dump", at_least=18).exists()
    assert find_program("pg_restore", at_least=18).exists()


@pytest.mark.slow
@pytest.mark.stack
def test_an_embedded_installation_is_restored_into_a_new_folder(stack):
    folder = throwaway_folder("tenantry-restored-")
    file = folder / "tenantry.dump"
    saved = stack.manage("backup", str(file))
    assert saved.returncode == 0, saved.stderr
    new = folder / "data"
    new.mkdir()
    (new / "secret_key").write_text((stack.home / "secret_key").read_text())

    def manage(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-W", "ignore", "manage.py", *arguments],
            cwd=HOME,
            env=stack.environment | {"DATA_DIR": str(new)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    restored = manage("restore", str(file))
    again = manage("restore", str(file))
    saved_again = manage("backup", str(folder / "2.dump"))

    assert restored.returncode == 0, restored.stderr
    assert "tables" in again.stderr
    assert saved_again.returncode == 0, saved_again.stderr
    # Started for the time, and ended.
    assert not (new / "postgres" / "postmaster.pid").exists()
    shutil.rmtree(folder)
