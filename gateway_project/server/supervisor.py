"""Run an installation's processes: restart those that die, replace them on request, and stop them all together.

We have our own, since maintained alternatives do not restart processes (honcho) or are daemons with their own language.
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
# Added to SHUTDOWN_GRACE_SECONDS, for cut calls to tell their callers and be settled.
AFTER_GRACE_SECONDS = 20.0
# For processes that serve no calls.
OTHERS_SECONDS = 35.0
# For a process that was asked twice to stop.
HURRY_SECONDS = 15.0
# For a new process to say that it serves, before the one it replaces is stopped.
READY_SECONDS = 60.0
# The environment variable with the descriptor on which it says so.
READY_FD = "READY_FD"
# If a process fails this often before everything was ready once, it cannot start.
MOST_FAILURES = 3
COLOURS = (36, 32, 33, 35, 34, 96, 92, 93)


class Process(msgspec.Struct, frozen=True):
    """One process: its command, what it adds to the environment, and file descriptors it inherits.

    `rolls`: it says on READY_FD when it serves, so it can be replaced without a gap.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = {}
    descriptors: tuple[int, ...] = ()
    rolls: bool = False


class Supervisor:
    """Runs processes from `run` until `stop`. `say` prints a line of a process.

    With a folder `logs`, all output goes there, and none is shown until `settled` is called because everything was
    ready once. A process that fails three times before that ends everything, and sets `failure`.
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
        self._served = asyncio.Event()  # set once the processes that roll have ended
        self._width = max(len(process.name) for process in processes)
        self._arrange = dying_with_parent(signal.SIGTERM)
        self.running: dict[str, asyncio.subprocess.Process] = {}
        self.failure: str | None = None
        # By process id: the task that reads a child's output and returns its last line that matters.
        self._readers: dict[int, asyncio.Task[str]] = {}
        self._successors: dict[str, asyncio.subprocess.Process] = {}
        self._replaced: dict[str, asyncio.Event] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._rolling: asyncio.Task[None] | None = None
        self._on_stop: Callable[[], None] = lambda: None

    def take_signals(self) -> None:
        """Handle signals: SIGTERM and Ctrl-C stop, a second one hurries; SIGUSR2 replaces processes that roll."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGUSR2, self.roll)

    def stop(self) -> None:
        """Stop every process; if called again, without waiting for open calls."""
        if self._stopping.is_set():
            self._hurrying.set()
        else:
            self._on_stop()
        self._stopping.set()

    def on_stop(self, act: Callable[[], None]) -> None:
        """Call `act` once, before the processes are asked to stop."""
        self._on_stop = act

    def settled(self) -> None:
        self._settled = True

    def roll(self) -> None:
        """Replace each process that rolls: start a new one and, once it serves, stop the old one."""
        if self._rolling is None or self._rolling.done():
            self._rolling = asyncio.create_task(self._roll())

    async def run(self) -> None:
        """Keep every process alive until `stop`, or until one cannot start.

        Processes that serve are stopped first, since their open calls need the others.
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
            if failures < 2:  # further failures before it ever ran would only repeat this line
                again = f"exited with {child.returncode}; restarting in {wait:.1f} s"
                self._tell(label, process.name, again + (f": {why}" if failures else ""))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    async def _roll(self) -> None:
        for number, process in enumerate(self._processes):
            if process.rolls and not self._stopping.is_set():
                await self._replace(process, self._label(number, process.name))

    async def _replace(self, process: Process, label: str) -> None:
        """Start the successor. If it does not get to serve, the old process stays."""
        ready, signal_end = os.pipe()
        try:
            child = await self._start(process, label, signal_end)
            os.close(signal_end)
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
            # A group of its own, so that Ctrl-C reaches only the supervisor, which then stops the others in order.
            start_new_session=True,
            preexec_fn=self._arrange,
            cwd=HOME,
        )
        self._readers[child.pid] = asyncio.create_task(self._pass_on(child, process.name, label))
        return child

    async def _end(self, child: asyncio.subprocess.Process, seconds: float) -> None:
        """Ask `child` to stop, and kill it if it has not within `seconds`."""
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
        """Pass on the remaining output of an ended child. Returns its last line that matters."""
        return await self._readers.pop(child.pid)

    async def _pass_on(self, child: asyncio.subprocess.Process, name: str, label: str) -> str:
        """Write the child's lines to its file and, without tracebacks, the terminal. Returns the last that matters."""
        assert child.stdout is not None
        fold, log = Fold(), self._logs.get(name)
        while True:
            try:
                read = await child.stdout.readline()
            except ValueError:
                continue  # a line longer than the reader's limit; go on with the next
            if not read:
                return fold.last
            line = read.decode(errors="replace").rstrip()
            if log is not None:
                log.write(line)
            shown = fold.shown(line)
            # Without a file, a traceback is shown here.
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
    """Return when the first of these is done, or after `seconds`. Coroutines among them are cancelled then."""
    tasks = {asyncio.ensure_future(each): each for each in awaited}
    await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task, each in tasks.items():
        if asyncio.iscoroutine(each):
            task.cancel()


async def _read_one(descriptor: int, stopping: asyncio.Event) -> bool:
    """Whether a byte comes on `descriptor` within READY_SECONDS, which means that its writer serves.

    False if the writer ended, or if `stopping` is set.
    """
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
