"""Processes die at the start and later, are replaced without a gap, and end in order."""

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager

import pytest

from gateway_project.ground import env
from gateway_project.server import supervisor as supervising
from gateway_project.server.supervisor import MOST_FAILURES, Process, Supervisor

BEGIN = "import os, signal, sys, time\n"
SERVES = BEGIN + (
    "def stop(*_):\n    print('stopping', os.getpid(), flush=True); sys.exit()\n"
    "signal.signal(signal.SIGTERM, stop)\n"
    "print('serving', os.getpid(), flush=True)\n"
    "ready = os.environ.get('READY_FD')\n"
    "if ready: os.write(int(ready), b'1')\n"
    "time.sleep(60)"
)
STUBBORN = BEGIN + (
    "asked = []\n"
    "signal.signal(signal.SIGTERM, lambda *_: asked.append(1) or len(asked) < 2 or sys.exit())\n"
    "print('serving', os.getpid(), flush=True)\n"
    "while True: time.sleep(0.05)"
)
NEVER_SERVES = BEGIN + (
    "print('serving', os.getpid(), flush=True)\nsys.exit(3) if os.environ.get('READY_FD') else time.sleep(60)"
)


def running(name: str, code: str, *, rolls: bool = True) -> Process:
    return Process(name, [sys.executable, "-c", code], rolls=rolls)


class Said(list[str]):
    async def until(self, *words: str, times: int = 1) -> None:
        async with asyncio.timeout(60):
            while sum(all(word in line for word in words) for line in self) < times:  # noqa: ASYNC110 - a list
                await asyncio.sleep(0.02)

    def index_of(self, *words: str) -> int:
        return next(number for number, line in enumerate(self) if all(word in line for word in words))


@asynccontextmanager
async def supervised(*processes: Process):
    said = Said()
    supervisor = Supervisor(processes, say=said.append)
    task = asyncio.create_task(supervisor.run())
    try:
        await said.until("serving", times=len(processes))
        yield supervisor, said, task
    finally:
        supervisor.stop()
        supervisor.stop()
        await task


async def test_the_old_process_is_asked_to_stop_when_the_new_one_serves():
    async with supervised(running("web", SERVES)) as (supervisor, said, _):
        old = supervisor.running["web"].pid
        supervisor.roll()
        await said.until("stopping", str(old))
        new = supervisor.running["web"].pid

        assert new != old
        assert said.index_of("serving", str(new)) < said.index_of("stopping", str(old))


async def test_where_the_new_process_does_not_serve_the_old_one_stays():
    async with supervised(running("web", NEVER_SERVES)) as (supervisor, said, _):
        old = supervisor.running["web"]
        supervisor.roll()
        await said.until("keeps running")

        assert supervisor.running["web"] is old
        assert old.returncode is None


async def test_what_serves_ends_before_the_others():
    async with supervised(running("web", SERVES), running("ledger", SERVES, rolls=False)) as (
        supervisor,
        said,
        task,
    ):
        supervisor.stop()
        await task

    assert said.index_of("web", "stopping") < said.index_of("ledger", "stopping")


async def test_a_second_stop_does_not_wait(monkeypatch):
    monkeypatch.setenv("SHUTDOWN_GRACE_SECONDS", "3600")
    async with supervised(running("web", STUBBORN)) as (supervisor, _, task):
        supervisor.stop()
        await asyncio.sleep(0.5)
        assert not task.done()
        supervisor.stop()
        await asyncio.wait_for(asyncio.shield(task), 14)  # before it would be killed


async def test_what_does_not_end_at_all_is_killed(monkeypatch):
    monkeypatch.setattr(supervising, "HURRY_SECONDS", 0.2)
    deaf = BEGIN + (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('serving', flush=True)\ntime.sleep(600)"
    )
    async with supervised(running("web", deaf)) as (supervisor, _, task):
        supervisor.stop()
        supervisor.stop()
        await asyncio.wait_for(asyncio.shield(task), 30)

    assert supervisor.running["web"].returncode == -9


@pytest.mark.parametrize("seconds", ["-1", "3601", "soon"])
def test_a_grace_that_is_none_is_refused_by_name(monkeypatch, seconds):
    monkeypatch.setenv("SHUTDOWN_GRACE_SECONDS", seconds)
    with pytest.raises(Exception, match="SHUTDOWN_GRACE_SECONDS must be"):
        env.shutdown_grace()


def python(name: str, code: str) -> Process:
    return Process(name, [sys.executable, "-c", code])


def started(*processes, logs):
    lines: list[str] = []
    return Supervisor(processes, logs=logs, say=lines.append), lines


async def until(question) -> None:
    while not question():  # noqa: ASYNC110 - a file of another process
        await asyncio.sleep(0.02)


async def test_what_cannot_start_ends_everything_with_one_line_and_its_reason(tmp_path):
    tries = tmp_path / "tries"
    broken = python("worker", f"open({str(tries)!r}, 'a').write('x'); import no_such_package")
    supervisor, lines = started(python("web", "import time; time.sleep(600)"), broken, logs=tmp_path / "logs")

    await asyncio.wait_for(supervisor.run(), 60)

    assert len(tries.read_text()) == MOST_FAILURES
    assert supervisor.failure is not None
    assert supervisor.failure.startswith(
        "worker cannot start: No module named 'no_such_package'. Install again: rm .venv/installed && make up."
    )
    assert len(lines) == 1
    assert "Traceback" not in lines[0]
    assert "Traceback" in (tmp_path / "logs" / "worker.log").read_text()
    assert supervisor.running["web"].returncode == -signal.SIGTERM


async def test_what_dies_once_everything_was_ready_is_started_again_for_ever(tmp_path):
    supervisor, _ = started(python("web", "import time; time.sleep(600)"), logs=tmp_path)
    supervisor.settled()
    running = asyncio.create_task(supervisor.run())

    seen: set[int] = set()
    while len(seen) <= MOST_FAILURES:
        await asyncio.sleep(0.02)
        process = supervisor.running.get("web")
        if process is not None and process.returncode is None and process.pid not in seen:
            seen.add(process.pid)
            os.kill(process.pid, signal.SIGKILL)
    supervisor.stop()
    await asyncio.wait_for(running, 60)

    assert supervisor.failure is None


@pytest.mark.parametrize("settled", [False, True])
async def test_a_processs_words_are_kept_and_shown_once_everything_is_ready(tmp_path, settled):
    talks = python("web", "print('hello', flush=True); import time; time.sleep(600)")
    supervisor, lines = started(talks, logs=tmp_path)
    if settled:
        supervisor.settled()
    running = asyncio.create_task(supervisor.run())
    await until(lambda: (tmp_path / "web.log").exists() and "hello" in (tmp_path / "web.log").read_text())
    supervisor.stop()
    await asyncio.wait_for(running, 60)

    assert any("hello" in line for line in lines) == settled
