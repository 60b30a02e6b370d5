"""Which processes of the installation run. Each refreshes its entry in one Redis sorted set every few seconds.

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
# A process that has been silent for longer than this is missing.
SILENT_SECONDS = 15
_KEPT_SECONDS = 7 * 86_400

# KEYS: the set. ARGV: the member. Allowed when Redis is full, or running processes would look dead.
_BEAT = f"""#!lua flags=allow-oom
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - {_KEPT_SECONDS})
"""
# KEYS: the set. Returns Redis' time, and the members with the times of their last beat.
_LOOK = """#!lua flags=no-writes
return {redis.call('TIME')[1], redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')}
"""


@lru_cache(maxsize=1)
def _store() -> Any:
    """A client of its own, since `redis_client` needs Django's settings and beat runs without Django."""
    return connect(settings.REDIS_URL)


class Presence:
    """The entry of one process. It calls `beat` after each turn of its work, and `leave` at an orderly end."""

    def __init__(self, kind: str) -> None:
        self._member = f"{kind} {socket.gethostname()} {os.getpid()} {time.time_ns()} {_run()}"
        self._due = 0.0

    def beat(self) -> None:
        """Refresh the entry, at most every `EVERY_SECONDS`. Does nothing while Redis is away."""
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
    """Beats from a thread, for a process whose own loop must not wait for Redis."""

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
    """The run of `make up` this process belongs to, so that entries of a killed run do not count. `-` elsewhere."""
    return os.environ.get("UP_RUN", "-")


def silence() -> dict[str, list[float]]:
    """For each kind, the seconds since the last beat of each of its processes. Raises Redis' errors."""
    now, pairs = _store().eval(_LOOK, 1, PROCESSES)
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for member, score in zip(pairs[::2], pairs[1::2], strict=True):
        kind, *_, run = member.decode().split(" ")
        if kind in seconds and run == _run():
            seconds[kind].append(max(0.0, float(now) - float(score)))
    return seconds


def process_states() -> dict[str, str]:
    """For each kind `ok` or `missing`, or `unknown` while Redis is away. One process of each must run, and WEB_WORKERS
    of web.
    """
    try:
        heard: dict[str, Any] = silence()
    except STORE_ERRORS:
        return dict.fromkeys(KINDS, "unknown")
    wanted = {"web": settings.WEB_WORKERS}
    running = {kind: sum(each < SILENT_SECONDS for each in seconds) for kind, seconds in heard.items()}
    return {kind: "ok" if running[kind] >= wanted.get(kind, 1) else "missing" for kind in KINDS}
