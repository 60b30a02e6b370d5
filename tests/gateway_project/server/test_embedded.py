"""The embedded servers: whose they are, who may come in, and that there is never a second one."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg
import pytest
import redis

from gateway_project.server import server_account
from gateway_project.server.embedded import EmbeddedRedis, EmbeddedServiceError
from gateway_project.server.embedded_postgres import EmbeddedPostgres
from gateway_project.server.server_account import Account
from gateway_project.server.sockets import LONGEST, private_folder, socket_below
from tests.folders import throwaway_folder

as_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="PostgreSQL has a user of its own where root starts it"
)
HOME = Path(__file__).resolve().parents[3]


def modes(path: Path) -> dict[Path, int]:
    """Of a folder and all above it."""
    return {each: stat.S_IMODE(each.stat().st_mode) for each in (path, *path.parents)}


@pytest.fixture
def home():
    folder = throwaway_folder("tenantry-embedded-")
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


@contextlib.contextmanager
def postgres_on(data: Path):
    server = EmbeddedPostgres(data)
    server.launch()
    try:
        yield server, server.wait_until_ready()
    finally:
        server.stop(signal.SIGQUIT)


@contextlib.contextmanager
def redis_on(data: Path):
    server = EmbeddedRedis(data)
    server.launch()
    try:
        yield server, server.wait_until_ready()
    finally:
        server.stop()


@pytest.mark.parametrize("name", ["with space", "ünïcode", "a,b", "de" * 60])
def test_both_servers_start_wherever_the_folder_is(home, name):
    data = home / name / "data"
    data.mkdir(parents=True, mode=0o755)
    (home / name).chmod(0o755)
    data.chmod(0o755)
    before = modes(data)

    with postgres_on(data) as (_, url), redis_on(data) as (_, redis_url):
        with psycopg.connect(url) as connection:
            assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert redis.Redis.from_url(redis_url).ping()

        assert modes(data) == before
        sockets = [Path(parse_qs(urlsplit(url).query)["host"][0]), Path(urlsplit(redis_url).path).parent]
        folder = sockets[0]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(os.fsencode(folder)) <= LONGEST


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

    with pytest.raises(EmbeddedServiceError, match="holds files and no database"), postgres_on(home):
        pass

    assert (folder / "global" / "pg_control").exists()


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
def test_programs_that_cannot_be_reached_are_copied_once(home, monkeypatch):
    monkeypatch.setattr(server_account, "OWN_PLACE", home / "var")
    monkeypatch.setattr(server_account, "_runs", lambda account, wheel: False)

    with postgres_on(home) as (server, _):
        program = Path(psutil.Process(server.pid).exe())

    assert program.is_relative_to(home / "var")


def killed_keeper(data: Path, kind: str) -> int:
    """Start a server in a process of its own, kill that, and answer the server's process id."""
    module = {"EmbeddedRedis": "embedded", "EmbeddedPostgres": "embedded_postgres"}[kind]
    code = (
        f"import sys, time, pathlib\nfrom gateway_project.server.{module} import {kind} as Server\n"
        "server = Server(pathlib.Path(sys.argv[1]))\nserver.launch()\nserver.wait_until_ready()\n"
        "print(server._process.pid, flush=True)\ntime.sleep(600)"
    )
    keeper = subprocess.Popen(
        [sys.executable, "-c", code, str(data)], cwd=HOME, stdout=subprocess.PIPE, text=True
    )
    assert keeper.stdout is not None
    pid = int(keeper.stdout.readline())
    keeper.kill()
    keeper.wait()
    return pid


@pytest.mark.parametrize("kind", ["EmbeddedRedis", "EmbeddedPostgres"])
def test_a_killed_make_up_takes_its_servers_with_it_and_the_next_finds_no_second_one(home, kind):
    old = killed_keeper(home, kind)

    with (redis_on if kind == "EmbeddedRedis" else postgres_on)(home):
        assert not psutil.pid_exists(old) or psutil.Process(old).status() == psutil.STATUS_ZOMBIE


def test_a_redis_that_outlived_its_make_up_is_ended_before_the_next(home, monkeypatch):
    monkeypatch.setattr("gateway_project.server.embedded.dying_with_parent", lambda number: None)
    with redis_on(home) as (old, url):
        redis.Redis.from_url(url).set("kept", "1")
        assert old._process is not None

        with redis_on(home) as (_, url):
            assert old._process.wait(5) is not None
            assert redis.Redis.from_url(url).get("kept") == b"1"


def test_the_append_only_file_is_its_owners_alone(home):
    with redis_on(home) as (server, url):
        redis.Redis.from_url(url).set("answer", "of a customer")
        files = [path for path in server.folder.rglob("*") if path.is_file()]

        assert files
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "redis.lock").stat().st_mode) & 0o022 == 0


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """A folder too deep for a socket, and a runtime folder of our own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    return tmp_path / ("x" * 120)


def test_a_short_folder_for_sockets_is_private_and_always_the_same(deep):
    folder = private_folder(deep)

    assert folder.parent == deep.parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert socket_below(deep, "redis.sock").parent == private_folder(deep) == folder


def test_a_short_folder_that_others_may_enter_is_not_used(deep):
    open_one = private_folder(deep)
    open_one.chmod(0o777)

    folder = private_folder(deep)

    assert folder != open_one
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_planted_link_is_not_followed(deep):
    theirs = deep.parent / "theirs"
    theirs.mkdir(mode=0o700)
    link = private_folder(deep)
    link.rmdir()
    link.symlink_to(theirs)

    assert private_folder(deep).resolve() != theirs


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


def test_the_suite_itself_changed_no_permission():
    """Its servers were started from a virtual environment and a folder whose parents are other people's."""
    for folder in (Path(sys.prefix), Path.home()):
        for each, bits in modes(folder.resolve()).items():
            assert bits == _AT_IMPORT.get(each, bits), each


_AT_IMPORT = {
    path: bits for folder in (Path(sys.prefix), Path.home()) for path, bits in modes(folder.resolve()).items()
}
