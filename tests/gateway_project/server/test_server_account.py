"""The account that the embedded servers run under, and what it can reach."""

import os
import stat
from pathlib import Path

import psycopg
import pytest

from gateway_project.server import server_account
from gateway_project.server.server_account import Account
from tests.folders import throwaway_folder
from tests.gateway_project.server.test_embedded import home as home  # a fixture
from tests.gateway_project.server.test_embedded import modes, postgres_on

as_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="PostgreSQL has a user of its own where root starts it"
)


@as_root
def test_the_server_keeps_no_group_of_roots(home):
    with postgres_on(home) as (server, _):
        status = Path(f"/proc/{server.pid}/status").read_text()

    assert 0 not in process_ids(status)


def process_ids(status: str) -> set[int]:
    lines = [
        line.split(":")[1].split()
        for line in status.splitlines()
        if line.startswith(("Uid", "Gid", "Groups"))
    ]
    return {int(number) for line in lines for number in line}


@as_root
def test_roots_closed_home_stays_closed_and_the_files_stand_elsewhere(home, tmp_path, monkeypatch):
    place = home / "var"
    monkeypatch.setattr(server_account, "OWN_PLACE", place)
    closed = home / "root"
    data = closed / "clone" / ".data"
    data.mkdir(parents=True, mode=0o700)
    closed.chmod(0o700)
    before = modes(data)

    with postgres_on(data) as (server, url), psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        assert server.folder.parent == place
    with postgres_on(data) as (server, url), psycopg.connect(url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)

    assert modes(data) == before
    assert (data / "postgres").resolve() == server.folder
    assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700


@as_root
def test_data_whose_way_was_closed_later_moves_and_is_kept(home, monkeypatch):
    monkeypatch.setattr(server_account, "OWN_PLACE", home / "var")
    data = home / "clone"
    data.mkdir(mode=0o755)
    data.chmod(0o755)
    with postgres_on(data) as (_, url), psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    data.chmod(0o700)

    with postgres_on(data) as (server, url), psycopg.connect(url) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
    assert server.folder.parent == home / "var"


@as_root
def test_what_a_user_may_reach_is_asked_of_the_kernel(tmp_path):
    closed = throwaway_folder("tenantry-closed-")
    try:
        closed.chmod(0o700)
        assert not Account(65534, 65534).may("-x", closed)
        closed.chmod(0o711)
        assert Account(65534, 65534).may("-x", closed)
    finally:
        closed.rmdir()
