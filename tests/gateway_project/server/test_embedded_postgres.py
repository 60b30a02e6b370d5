"""The embedded PostgreSQL: who may come in, and where its programs are."""

import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from gateway_project.server import server_account
from gateway_project.server.embedded import EmbeddedServiceError
from tests.gateway_project.server.test_embedded import HOME, postgres_on
from tests.gateway_project.server.test_embedded import home as home  # a fixture
from tests.gateway_project.server.test_server_account import as_root


def test_no_user_of_the_machine_comes_in_without_the_password(home):
    with postgres_on(home) as (_, url):
        address = urlsplit(url)
        for guess in ("", "postgres"):
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(url.replace(str(address.password), guess))

        assert stat.S_IMODE((home / "postgres.url").stat().st_mode) == 0o600


def test_a_server_that_trusted_everybody_does_so_no_longer(home):
    with postgres_on(home) as (server, url):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        hba = server.folder / "pg_hba.conf"
    hba.write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
    (home / "postgres.url").write_text(f"postgresql://postgres:@/postgres?host={server.folder}")

    with postgres_on(home) as (_, url):
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
            rules = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url.replace(str(urlsplit(url).password), ""))
    assert rules == [("scram-sha-256",)]


@as_root
def test_programs_that_cannot_be_reached_are_copied_once(home, monkeypatch):
    monkeypatch.setattr(server_account, "OWN_PLACE", home / "var")
    monkeypatch.setattr(server_account, "_runs", lambda account, wheel: False)

    with postgres_on(home) as (server, _):
        program = Path(psutil.Process(server.pid).exe())

    assert program.is_relative_to(home / "var")


MAKE_DATABASE = """
import sys
from pathlib import Path
from gateway_project.server.embedded_postgres import EmbeddedPostgres
EmbeddedPostgres(Path(sys.argv[1])).launch()
"""


def test_a_database_that_was_killed_while_it_was_made_is_made_again(home):
    starting = subprocess.Popen([sys.executable, "-c", MAKE_DATABASE, str(home)], cwd=HOME)
    while not list(home.glob("postgres*/PG_VERSION")):
        assert starting.poll() is None
    starting.kill()
    starting.wait()

    with postgres_on(home) as (_, url), psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert [each.name for each in home.glob("postgres*") if each.is_dir()] == ["postgres"]


def test_files_that_are_no_database_stay_and_are_named(home):
    with postgres_on(home) as (server, _):
        folder = server.folder
    (folder / "PG_VERSION").unlink()

    with pytest.raises(EmbeddedServiceError, match="contains files but no database"), postgres_on(home):
        pass

    assert (folder / "global" / "pg_control").exists()
