"""Processes that die: at the start, and later."""

import asyncio
import os
import signal
import sys

import pytest

from gateway_project.server.supervisor import MOST_FAILURES, Process, Supervisor


def python(name: str, code: str) -> Process:
    return Process(name, [sys.executable, "-c", code])


def supervised(*processes, logs):
    lines: list[str] = []
    return Supervisor(processes, logs=logs, say=lines.append), lines


async def until(question) -> None:
    while not question():  # noqa: ASYNC110 - a file of another process
        await asyncio.sleep(0.02)


async def test_what_cannot_start_ends_everything_with_one_line_and_its_reason(tmp_path):
    tries = tmp_path / "tries"
    broken = python("worker", f"open({str(tries)!r}, 'a').write('x'); import no_such_package")
    supervisor, lines = supervised(
        python("web", "import time; time.sleep(600)"), broken, logs=tmp_path / "logs"
    )

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
    supervisor, _ = supervised(python("web", "import time; time.sleep(600)"), logs=tmp_path)
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
    supervisor, lines = supervised(talks, logs=tmp_path)
    if settled:
        supervisor.settled()
    running = asyncio.create_task(supervisor.run())
    await until(lambda: (tmp_path / "web.log").exists() and "hello" in (tmp_path / "web.log").read_text())
    supervisor.stop()
    await asyncio.wait_for(running, 60)

    assert any("hello" in line for line in lines) == settled
