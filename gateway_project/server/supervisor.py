"""Runs an installation's processes, starts again what dies, and ends them all together.

Ours, because the kept alternatives do not restart (honcho) or are daemons with a language of their own.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

HOME = Path(__file__).resolve().parents[2]
STEADY_SECONDS = 10.0
LONGEST_WAIT = 10.0
GRACE_SECONDS = 35.0
COLOURS = (36, 32, 33, 35, 34, 96, 92, 93)


class Process(msgspec.Struct, frozen=True):
    """One process: argv, what it adds to the environment, and file descriptors it inherits."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = {}
    descriptors: tuple[int, ...] = ()


class Supervisor:
    """Start with `run`, end with `stop`. `say` prints a line of a process."""

    def __init__(self, processes: Sequence[Process], *, say: Callable[[str], None] | None = None) -> None:
        self._processes = processes
        self._say = say or (lambda line: print(line, flush=True))
        self._stopping = asyncio.Event()
        self._width = max(len(process.name) for process in processes)
        self.running: dict[str, asyncio.subprocess.Process] = {}

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Keep every process alive until `stop`."""
        await asyncio.gather(*(self._keep(number, each) for number, each in enumerate(self._processes)))

    async def _keep(self, number: int, process: Process) -> None:
        wait = 0.5
        label = self._label(number, process.name)
        while not self._stopping.is_set():
            began = time.monotonic()
            child = await self._start(process)
            self.running[process.name] = child
            reader = asyncio.create_task(self._pass_on(child, label))
            ended = asyncio.create_task(child.wait())
            stop = asyncio.create_task(self._stopping.wait())
            await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.is_set():
                await self._end(child)
            stop.cancel()
            await ended
            await reader
            if self._stopping.is_set():
                return
            wait = 0.5 if time.monotonic() - began > STEADY_SECONDS else min(LONGEST_WAIT, wait * 2)
            self._say(f"{label} ended with {child.returncode}; starting it again in {wait:.0f} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    async def _start(self, process: Process) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *process.command,
            env={**os.environ, **process.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=process.descriptors,
            # A group of its own: Ctrl-C reaches only the supervisor, which then ends the others in peace.
            start_new_session=True,
            preexec_fn=_die_with_parent,
            cwd=HOME,
        )

    async def _end(self, child: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
            try:
                await asyncio.wait_for(child.wait(), GRACE_SECONDS)
            except TimeoutError:
                os.killpg(child.pid, signal.SIGKILL)

    async def _pass_on(self, child: asyncio.subprocess.Process, label: str) -> None:
        assert child.stdout is not None
        while True:
            try:
                line = await child.stdout.readline()
            except ValueError:
                continue  # a line beyond the reader's limit; what follows it is read on
            if not line:
                return
            self._say(f"{label} {line.decode(errors='replace').rstrip()}")

    def _label(self, number: int, name: str) -> str:
        text = f"{name:<{self._width}} │"
        return f"\033[{COLOURS[number % len(COLOURS)]}m{text}\033[0m" if sys.stdout.isatty() else text


def _die_with_parent() -> None:
    """Linux: a supervisor that is killed takes its processes with it."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
