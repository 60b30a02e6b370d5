"""`make up` tells the truth, and leaves nothing behind, however it ends."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import httpx
import psutil
import pytest

from tests.folders import throwaway_folder
from tests.sandbox import free_port
from tests.stack.conftest import HOME, wait_until_ready

pytestmark = [pytest.mark.stack, pytest.mark.slow]
OURS = ("DATABASE_URL", "REDIS_URL", "DATA_DIR", "SECRET_KEY", "EZAI_API_KEY", "EZAI_BASE_URL")


class Up:
    """`make up` in a folder of its own, as often as it is started."""

    def __init__(self, home) -> None:
        self.home, self.port = home, free_port()
        self.log = home / "up.log"

    def start(self, *, stdout=None, preexec_fn=None, **environment: str) -> "subprocess.Popen[bytes]":
        given = {name: value for name, value in os.environ.items() if name not in OURS}
        given["PYTHONDONTWRITEBYTECODE"] = ""  # compiled once, and not by every process of every test
        given |= {"DATA_DIR": str(self.home / "data"), "PORT": str(self.port), "DEMO": "0"} | environment
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "gateway_project.up"],
                cwd=HOME, env=given, stdout=stdout or out, stderr=subprocess.STDOUT,
                # As from a terminal, even where the suite itself was started by `nohup`.
                preexec_fn=preexec_fn or (lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)),
            )  # fmt: skip
        return self.process

    def until_ready(self) -> str:
        """What it printed up to then."""
        while "is ready" not in (said := self.log.read_text()):
            assert self.process.poll() is None, said
            time.sleep(0.1)
        return said

    def left(self) -> list[str]:
        """Processes that have to do with its data."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                about = " ".join([*process.cmdline(), process.environ().get("DATA_DIR", "")])
                if str(self.home) in about and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{process.pid} {about}")
        return found

    def until_nothing_is_left(self) -> None:
        deadline = time.monotonic() + 60
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == []


@pytest.fixture
def up():
    home = throwaway_folder("tenantry-up-")
    started = Up(home)
    yield started
    with contextlib.suppress(ProcessLookupError):
        started.process.send_signal(signal.SIGTERM)
    started.process.wait(60)
    shutil.rmtree(home, ignore_errors=True)


def test_ready_means_that_every_process_has_said_so(up):
    up.start()

    said = up.until_ready()

    states = httpx.get(f"http://127.0.0.1:{up.port}/readyz").json()
    assert states == dict.fromkeys(("status", "postgresql", "redis", "web", "ledger", "worker", "beat"), "ok")
    assert " MB in " in said


def test_a_process_that_cannot_start_ends_it_with_its_reason_and_nothing_stays(up):
    code = up.start(CELERY_BROKER_URL="nonsense://127.0.0.1").wait(600)

    said = up.log.read_text()
    assert code == 1
    assert "is ready" not in said
    assert "Traceback" not in said
    assert "cannot start: No such transport: nonsense" in said.replace("KeyError: '", "").replace("'", "")
    up.until_nothing_is_left()


def test_a_setting_that_production_refuses_is_one_line_and_nothing_starts(up):
    code = up.start(ALLOWED_HOSTS="*").wait(60)

    assert code == 1
    lines = [line for line in up.log.read_text().splitlines() if line]
    assert lines[-1].startswith("make up: ALLOWED_HOSTS must list the host names to serve")
    assert not any("Starting" in line for line in lines)
    up.until_nothing_is_left()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_its_servers_end_too_and_it_starts_again(up, number):
    up.start().poll()
    up.until_ready()

    os.kill(up.process.pid, number)
    up.process.wait(60)
    if number != signal.SIGKILL:
        assert up.left() == []

    up.start()
    said = up.until_ready()
    assert "Migrating" not in said  # the second time there is nothing to prepare
    holders = [each for each in up.left() if "redis-server" in each]
    assert len(holders) == 1


def test_with_json_logs_each_line_is_an_object_and_none_lets_anybody_in(up):
    up.start(LOG_FORMAT="json")
    up.until_ready()

    up.process.send_signal(signal.SIGTERM)
    up.process.wait(60)

    said = [json.loads(line) for line in up.log.read_text().splitlines()]
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(each) for each in said))
    assert any("is ready" in each["message"] for each in said)
    demo = json.loads((up.home / "data" / "demo.json").read_text())
    assert demo["password"] not in up.log.read_text()


def test_one_that_nohup_started_outlives_its_terminal_and_its_reader(up):
    reader, writer = os.pipe()
    up.start(stdout=writer, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    os.close(writer)
    os.close(reader)
    url = f"http://127.0.0.1:{up.port}/readyz"
    wait_until_ready(url.removesuffix("/readyz"), up.process, up.log)

    up.process.send_signal(signal.SIGHUP)
    time.sleep(1)

    assert httpx.get(url).status_code == 200
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(60) == 0


@pytest.mark.parametrize("moment", [0.0, 0.3, 1.0, 3.0])
def test_ended_in_the_middle_of_its_start_it_leaves_nothing(up, moment):
    process = up.start()
    time.sleep(moment)

    process.send_signal(signal.SIGTERM)
    process.wait(60)

    up.until_nothing_is_left()
