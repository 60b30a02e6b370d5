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

from gateway_project.server.embedded import EmbeddedRedis
from gateway_project.server.embedded_postgres import EmbeddedPostgres
from gateway_project.server.sockets import LONGEST
from tests.folders import throwaway_folder

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


def test_the_suite_itself_changed_no_permission():
    """Its servers were started from a virtual environment and a folder whose parents are other people's."""
    for folder in (Path(sys.prefix), Path.home()):
        for each, bits in modes(folder.resolve()).items():
            assert bits == _AT_IMPORT.get(each, bits), each


_AT_IMPORT = {
    path: bits for folder in (Path(sys.prefix), Path.home()) for path, bits in modes(folder.resolve()).items()
}
