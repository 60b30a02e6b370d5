"""Runs an installation's processes, starts again what dies, and ends them all together.

Ours, because the kept alternatives do not restart (honcho) or are daemons with a language of their own.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from gateway_project.process_output import Fold, ProcessLog, reason
from gateway_project.server.embedded import dying_with_parent

HOME = Path(__file__).resolve().parents[2]
STEADY_SECONDS = 10.0
LONGEST_WAIT = 10.0
GRACE_SECONDS = 35.0
# So often a process may fail before everything was ready once; then it cannot start.
MOST_FAILURES = 3
COLOURS = (36, 32, 33, 35, 34, 96, 92, 93)


class Process(msgspec.Struct, frozen=True):
    """One process: argv, what it adds to the environment, and file descriptors it inherits."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = {}
    descriptors: tuple[int, ...] = ()


class Supervisor:
    """Start with `run`, end with `stop`. `say` prints a line of a process; what each says in full is in `logs`.

    Until `settled` says that everything was ready once, a process that fails three times ends it all: `failure`.
    """

    def __init__(
        self, processes: Sequence[Process], *, logs: Path, say: Callable[[str], None] | None = None
    ) -> None:
        self._processes = processes
        self._logs = logs
        self._say = say or (lambda line: print(line, flush=True))
        self._stopping = asyncio.Event()
        self._settled = False
        self._width = max(len(process.name) for process in processes)
        self._arrange = dying_with_parent(signal.SIGTERM)
        self.running: dict[str, asyncio.subprocess.Process] = {}
        self.failure: str | None = None

    def stop(self) -> None:
        self._stopping.set()

    def settled(self) -> None:
        self._settled = True

    async def run(self) -> None:
        """Keep every process alive until `stop`, or until one cannot start."""
        await asyncio.gather(*(self._keep(number, each) for number, each in enumerate(self._processes)))

    async def _keep(self, number: int, process: Process) -> None:
        wait, failures = 0.5, 0
        label = self._label(number, process.name)
        log = ProcessLog(self._logs / f"{process.name}.log")
        while not self._stopping.is_set():
            began = time.monotonic()
            fold = Fold()
            child = await self._live(process, fold=fold, label=label, log=log)
            if self._stopping.is_set():
                break
            why = reason(fold.last, child.returncode)
            failures = 0 if self._settled else failures + 1
            if failures == MOST_FAILURES:
                self.failure = f"{process.name} cannot start: {why} All it said is in {log.file}"
                self.stop()
                break
            wait = 0.5 if time.monotonic() - began > STEADY_SECONDS else min(LONGEST_WAIT, wait * 2)
            if failures < 2:  # the next ones before it ever ran would only repeat it
                again = f"starting it again in {wait:.1f} s"
                self._say(
                    f"{label} ended with {child.returncode}; {again}" + (f": {why}" if failures else "")
                )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)
        log.close()

    async def _live(
        self, process: Process, *, fold: Fold, label: str, log: ProcessLog
    ) -> asyncio.subprocess.Process:
        """One life of a process, from its start to its end."""
        child = await self._start(process)
        self.running[process.name] = child
        reader = asyncio.create_task(self._pass_on(child, fold=fold, label=label, log=log))
        ended = asyncio.create_task(child.wait())
        stop = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
        if self._stopping.is_set():
            await self._end(child)
        stop.cancel()
        await ended
        await reader
        return child

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
            preexec_fn=self._arrange,
            cwd=HOME,
        )

    async def _end(self, child: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
            try:
                await asyncio.wait_for(child.wait(), GRACE_SECONDS)
            except TimeoutError:
                os.killpg(child.pid, signal.SIGKILL)

    async def _pass_on(
        self, child: asyncio.subprocess.Process, *, fold: Fold, label: str, log: ProcessLog
    ) -> None:
        """Its lines into the file; and, once everything was ready, without tracebacks onto the terminal."""
        assert child.stdout is not None
        while True:
            try:
                read = await child.stdout.readline()
            except ValueError:
                continue  # a line beyond the reader's limit; what follows it is read on
            if not read:
                return
            line = read.decode(errors="replace").rstrip()
            log.write(line)
            shown = fold.shown(line)
            if shown is not None and self._settled:
                self._say(f"{label} {shown}")

    def _label(self, number: int, name: str) -> str:
        text = f"{name:<{self._width}} │"
        return f"\033[{COLOURS[number % len(COLOURS)]}m{text}\033[0m" if sys.stdout.isatty() else text
