"""Which processes of the installation run: each says so in Redis every few seconds, in one sorted set.

The time is Redis' own, so the clocks of several machines need not agree.
"""

import contextlib
import os
import socket
import threading
import time
from functools import lru_cache
from typing import Any

from django.conf import settings

from gateway_project.ground.redis_address import STORE_ERRORS, connect
from gateway_project.ground.redis_keys import PROCESSES as PROCESSES

KINDS = ("web", "ledger", "worker", "beat")
EVERY_SECONDS = 5.0
# A process that has been silent for so long is missing.
SILENT_SECONDS = 15
_KEPT_SECONDS = 7 * 86_400

# KEYS: the set. ARGV: the member. Allowed when Redis is full: what says that a process lives must not fall silent.
_BEAT = f"""#!lua flags=allow-oom
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - {_KEPT_SECONDS})
"""
# KEYS: the set. Answers Redis' time and the members with theirs.
_LOOK = """#!lua flags=no-writes
return {redis.call('TIME')[1], redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')}
"""


@lru_cache(maxsize=1)
def _store() -> Any:
    """Not the policies' client: beat has no Django behind it, and needs none."""
    return connect(settings.REDIS_URL)


class Presence:
    """One process's: `beat` whenever it has done a turn of its work, `leave` when it ends orderly."""

    def __init__(self, kind: str) -> None:
        self._member = f"{kind} {socket.gethostname()} {os.getpid()} {time.time_ns()} {_run()}"
        self._due = 0.0

    def beat(self) -> None:
        """Say that it runs, unless that was said a moment ago. While Redis is away nobody hears it."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + EVERY_SECONDS
        with contextlib.suppress(*STORE_ERRORS):
            _store().eval(_BEAT, 1, PROCESSES, self._member)

    def leave(self) -> None:
        with contextlib.suppress(*STORE_ERRORS):
            _store().zrem(PROCESSES, self._member)


class BeatingThread:
    """Beats for a process whose own loop must not wait for Redis."""

    def __init__(self, kind: str) -> None:
        self._presence = Presence(kind)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            self._presence.beat()
            if self._ended.wait(EVERY_SECONDS):
                self._presence.leave()
                return


def _run() -> str:
    """Which run of `make up` this is part of; elsewhere all are of one. What a killed run left does not count."""
    return os.environ.get("UP_RUN", "-")


def silence() -> dict[str, list[float]]:
    """For each kind, how many seconds ago each of its processes was last heard of. Raises what the store raises."""
    now, pairs = _store().eval(_LOOK, 1, PROCESSES)
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for member, score in zip(pairs[::2], pairs[1::2], strict=True):
        kind, *_, run = member.decode().split(" ")
        if kind in seconds and run == _run():
            seconds[kind].append(max(0.0, float(now) - float(score)))
    return seconds


def process_states() -> dict[str, str]:
    """For each kind `ok` or `missing`; of web, WEB_WORKERS processes are wanted. `unknown` while Redis is away."""
    try:
        heard: dict[str, Any] = silence()
    except STORE_ERRORS:
        return dict.fromkeys(KINDS, "unknown")
    wanted = {"web": settings.WEB_WORKERS}
    running = {kind: sum(each < SILENT_SECONDS for each in seconds) for kind, seconds in heard.items()}
    return {kind: "ok" if running[kind] >= wanted.get(kind, 1) else "missing" for kind in KINDS}
