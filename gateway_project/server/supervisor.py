"""Runs an installation's processes, starts again what dies, replaces what is renewed, and ends them all together.

Ours, because the kept alternatives do not restart (honcho) or are daemons with a language of their own.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway_project.ground import env
from gateway_project.ground.logs import is_json, line_of, relayed
from gateway_project.server.embedded import dying_with_parent
from gateway_project.server.process_output import Fold, ProcessLog, reason

HOME = Path(__file__).resolve().parents[2]
STEADY_SECONDS = 10.0
LONGEST_WAIT = 10.0
# Beyond SHUTDOWN_GRACE_SECONDS: what is cut then says so and is settled.
AFTER_GRACE_SECONDS = 20.0
# For processes that serve nobody.
OTHERS_SECONDS = 35.0
# For a process that was told twice to stop.
HURRY_SECONDS = 15.0
# For a new process to say that it serves, before the one it replaces is ended.
READY_SECONDS = 60.0
# The environment's name for the descriptor it says so on.
READY_FD = "READY_FD"
# So often a process may fail before everything was ready once; then it cannot start.
MOST_FAILURES = 3
COLOURS = (36, 32, 33, 35, 34, 96, 92, 93)


class Process(msgspec.Struct, frozen=True):
    """One process: argv, what it adds to the environment, and file descriptors it inherits. `rolls`: it says on
    READY_FD that it serves, and can be replaced without a gap.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = {}
    descriptors: tuple[int, ...] = ()
    rolls: bool = False


class Supervisor:
    """Start with `run`, end with `stop`. `say` prints a line of a process.

    With a folder `logs`, everything a process says goes there, and nothing of it is shown until `settled` says that
    everything was ready once. A process that fails three times before that ends it all: `failure`.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        *,
        logs: Path | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._processes = processes
        self._say = say or (lambda line: print(line, flush=True))
        self._logs = {each.name: ProcessLog(logs / f"{each.name}.log") for each in processes} if logs else {}
        self._settled = logs is None
        self._stopping, self._hurrying = asyncio.Event(), asyncio.Event()
        self._served = asyncio.Event()  # what rolls has ended
        self._width = max(len(process.name) for process in processes)
        self._arrange = dying_with_parent(signal.SIGTERM)
        self.running: dict[str, asyncio.subprocess.Process] = {}
        self.failure: str | None = None
        # What reads a child's output and says the last line of it that matters, by its process id.
        self._readers: dict[int, asyncio.Task[str]] = {}
        self._successors: dict[str, asyncio.subprocess.Process] = {}
        self._replaced: dict[str, asyncio.Event] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._rolling: asyncio.Task[None] | None = None
        self._on_stop: Callable[[], None] = lambda: None

    def take_signals(self) -> None:
        """SIGTERM and Ctrl-C stop, a second one hurries; SIGUSR2 replaces what rolls."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGUSR2, self.roll)

    def stop(self) -> None:
        """End every process; called once more, without waiting for what is under way."""
        if self._stopping.is_set():
            self._hurrying.set()
        else:
            self._on_stop()
        self._stopping.set()

    def on_stop(self, act: Callable[[], None]) -> None:
        """Have `act` called once, before the processes are asked to end."""
        self._on_stop = act

    def settled(self) -> None:
        self._settled = True

    def roll(self) -> None:
        """Replace each process that rolls: a new one is started, and once it serves, the old one is asked to stop."""
        if self._rolling is None or self._rolling.done():
            self._rolling = asyncio.create_task(self._roll())

    async def run(self) -> None:
        """Keep every process alive until `stop`, or until one cannot start. What serves ends first: the calls under way
        need the others.
        """
        numbered = list(enumerate(self._processes))
        others = [self._keep(number, each) for number, each in numbered if not each.rolls]
        serving = [self._keep(number, each) for number, each in numbered if each.rolls]
        try:
            await asyncio.gather(self._serve(serving), *others)
        finally:
            for log in self._logs.values():
                log.close()

    async def _serve(self, serving: Sequence[Coroutine[Any, Any, None]]) -> None:
        await asyncio.gather(*serving)
        if self._rolling is not None:
            await self._rolling
        ends = [self._end(child, AFTER_GRACE_SECONDS) for child in self._successors.values()]
        await asyncio.gather(*self._leaving, *ends)
        self._served.set()

    async def _keep(self, number: int, process: Process) -> None:
        wait, failures = 0.5, 0
        label = self._label(number, process.name)
        while not self._stopping.is_set():
            began = time.monotonic()
            child = self._successors.pop(process.name, None) or await self._start(process, label)
            self.running[process.name] = child
            replaced = self._replaced[process.name] = asyncio.Event()
            ended = asyncio.create_task(child.wait())
            await _first(ended, self._stopping.wait(), replaced.wait())
            if self._stopping.is_set():
                if not process.rolls:
                    await self._served.wait()
                await self._end(child, _patience(process))
                return
            if replaced.is_set():
                leaving = asyncio.create_task(self._end(child, _patience(process)))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
                continue
            why = reason(await self._read_out(child), child.returncode)
            failures = 0 if self._settled else failures + 1
            if failures == MOST_FAILURES:
                self.failure = (
                    f"{process.name} cannot start: {why} Full output: {self._logs[process.name].file}"
                )
                self.stop()
                return
            wait = 0.5 if time.monotonic() - began > STEADY_SECONDS else min(LONGEST_WAIT, wait * 2)
            if failures < 2:  # the next ones before it ever ran would only repeat it
                again = f"exited with {child.returncode}; restarting in {wait:.1f} s"
                self._tell(label, process.name, again + (f": {why}" if failures else ""))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    async def _roll(self) -> None:
        for number, process in enumerate(self._processes):
            if process.rolls and not self._stopping.is_set():
                await self._replace(process, self._label(number, process.name))

    async def _replace(self, process: Process, label: str) -> None:
        """Start the successor; where it does not come to serve, the old process stays."""
        ready, told = os.pipe()
        try:
            child = await self._start(process, label, told)
            os.close(told)
            served = await _read_one(ready, self._stopping)
        finally:
            os.close(ready)
        if served:
            self._successors[process.name] = child
            self._replaced[process.name].set()
        else:
            if not self._stopping.is_set():
                self._tell(label, process.name, "keeps running: its replacement did not start serving")
            await self._end(child, AFTER_GRACE_SECONDS)

    async def _start(
        self, process: Process, label: str, ready: int | None = None
    ) -> asyncio.subprocess.Process:
        child = await asyncio.create_subprocess_exec(
            *process.command,
            env={**os.environ, **process.environment, **({READY_FD: str(ready)} if ready else {})},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=(*process.descriptors, *((ready,) if ready else ())),
            # A group of its own: Ctrl-C reaches only the supervisor, which then ends the others in peace.
            start_new_session=True,
            preexec_fn=self._arrange,
            cwd=HOME,
        )
        self._readers[child.pid] = asyncio.create_task(self._pass_on(child, process.name, label))
        return child

    async def _end(self, child: asyncio.subprocess.Process, seconds: float) -> None:
        """Ask it to end, and see to it that it does within `seconds`."""
        ended = asyncio.create_task(child.wait())
        _terminate(child)
        await _first(ended, self._hurrying.wait(), seconds=seconds)
        if not ended.done() and self._hurrying.is_set():
            _terminate(child)
            await _first(ended, seconds=HURRY_SECONDS)
        if not ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        await ended
        await self._read_out(child)

    async def _read_out(self, child: asyncio.subprocess.Process) -> str:
        """Pass on what an ended child still had to say; its last line that matters."""
        return await self._readers.pop(child.pid)

    async def _pass_on(self, child: asyncio.subprocess.Process, name: str, label: str) -> str:
        """Its lines into its file and, without tracebacks, onto the terminal; the last line that matters."""
        assert child.stdout is not None
        fold, log = Fold(), self._logs.get(name)
        while True:
            try:
                read = await child.stdout.readline()
            except ValueError:
                continue  # a line beyond the reader's limit; what follows it is read on
            if not read:
                return fold.last
            line = read.decode(errors="replace").rstrip()
            if log is not None:
                log.write(line)
            shown = fold.shown(line)
            # Without a file of its own, a traceback has no other place than here.
            if log is None:
                shown = line or None
            if shown is not None and self._settled:
                self._say(relayed(name, shown, label=label))

    def _tell(self, label: str, name: str, text: str) -> None:
        if is_json():
            self._say(line_of("tenantry.supervisor", f"{name} {text}", level="WARNING"))
        else:
            self._say(f"{label} {text}")

    def _label(self, number: int, name: str) -> str:
        text = f"{name:<{self._width}} │"
        return f"\033[{COLOURS[number % len(COLOURS)]}m{text}\033[0m" if sys.stdout.isatty() else text


def _patience(process: Process) -> float:
    return env.shutdown_grace() + AFTER_GRACE_SECONDS if process.rolls else OTHERS_SECONDS


async def _first(*awaited: Any, seconds: float | None = None) -> None:
    """Return when the first of these is over, or after `seconds`. Coroutines among them are ended then."""
    tasks = {asyncio.ensure_future(each): each for each in awaited}
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task, each in tasks.items():
        if asyncio.iscoroutine(each):
            task.cancel()


async def _read_one(descriptor: int, stopping: asyncio.Event) -> bool:
    """Whether a byte comes on `descriptor` within READY_SECONDS: its writer serves. It has ended where none does."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, readable.cancel)
    try:
        await _first(readable, stopping.wait(), seconds=READY_SECONDS)
        return readable.done() and os.read(descriptor, 1) != b""
    finally:
        loop.remove_reader(descriptor)


def _terminate(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
