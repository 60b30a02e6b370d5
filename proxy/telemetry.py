"""The data plane's metrics and access log. Both together cost a request about 3 µs and no system call.

Metrics are for Prometheus, across all processes if PROMETHEUS_MULTIPROC_DIR is set (before the first import). A call is
added to a tally in memory, and once a second tallies are added to the metrics: Prometheus' own client takes 6 µs for
the 13 numbers of a call. Access lines are written then, too. Amounts are floats, as Prometheus needs them: they are for
charts, the ledger is for money.
"""

import os
import random
import sys
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import msgspec
from django.conf import settings
from prometheus_client import Counter, Histogram, values

from billing.meter.lease import Lease
from billing.meter.settlement import CallOutcome
from gateway_project.ground.errors import TenantryError
from gateway_project.ground.logs import redacted
from gateway_project.ground.money import NANO

if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    # The client gets the process id 18 times a call, in case of a fork. Web processes never fork.
    _PROCESS_ID = os.getpid()
    values.ValueClass = values.MultiProcessValue(lambda: _PROCESS_ID)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_ADMISSION_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1)


class TalliedHistogram(Histogram):
    """A histogram that takes many observations at once, for which the library has no public method.

    It uses the library's private sum and buckets. `tests/proxy/test_telemetry.py` fails if `observe` fills others.
    """

    def add(self, seen: "Observed") -> None:
        """Add the observations of `seen`, and empty it."""
        self._sum.inc(seen.seconds)
        for bucket, count in zip(self._buckets, seen.counts, strict=True):
            if count:
                bucket.inc(count)
        seen.clear()


class Observed:
    """How many times were observed in each bucket; the last bucket has no bound. `bounds` are in seconds."""

    __slots__ = ("bounds", "counts", "seconds")

    def __init__(self, bounds: Sequence[float] = _SECONDS) -> None:
        self.bounds = bounds
        self.clear()

    def clear(self) -> None:
        self.seconds = 0.0
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, milliseconds: float) -> None:
        seconds = milliseconds / 1000
        self.seconds += seconds
        self.counts[bisect_left(self.bounds, seconds)] += 1


class Tally:
    """The sums of the calls of one tier, model and status since the last flush."""

    __slots__ = ("cached", "calls", "latency", "nano", "read", "ttft", "written")

    def __init__(self) -> None:
        self.calls = self.nano = self.read = self.written = self.cached = 0
        self.latency, self.ttft = Observed(), Observed()


CALLS = Counter("tenantry_calls", "Calls settled.", ["tier", "model", "status"])
REFUSALS = Counter("tenantry_refusals", "Requests answered by the gateway itself.", ["code"])
LATENCY = TalliedHistogram(
    "tenantry_latency_seconds", "From request to last byte.", ["model"], buckets=_SECONDS
)
TTFT = TalliedHistogram(
    "tenantry_first_token_seconds", "From request to first byte.", ["model"], buckets=_SECONDS
)
ADMISSION = TalliedHistogram(
    "tenantry_admission_seconds",
    "From request to being sent upstream: what the gateway adds.",
    buckets=_ADMISSION_SECONDS,
)
TOKENS = Counter("tenantry_tokens", "Tokens charged.", ["model", "kind"])
SPEND = Counter("tenantry_spend_usd", "Sell price charged.", ["tier", "model"])
ESTIMATED = Counter("tenantry_estimated_calls", "Calls charged by an estimate.", ["model"])
OVERRUNS = Counter("tenantry_overruns", "Calls that cost more than was reserved for them.", ["model"])
OVERRUN_USD = Counter("tenantry_overrun_usd", "How much more they cost than was reserved.", ["model"])

_encode = msgspec.json.Encoder().encode


class Telemetry:
    """The tallies and access lines of one process that are not written yet."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str, str], Tally] = {}
        self._admission = Observed(_ADMISSION_SECONDS)
        self._lines: list[dict[str, Any]] = []

    def settled(self, lease: Lease, outcome: CallOutcome, *, tier: str, sent_ms: float | None) -> None:
        """Count a call that is settled. `sent_ms`: milliseconds from the request until it was sent upstream."""
        model = lease.offer.candidate.model.name
        tally = self._tallies.get((tier, model, outcome.status))
        if tally is None:
            tally = self._tallies[tier, model, outcome.status] = Tally()
        usage = outcome.usage
        tally.calls += 1
        tally.nano += outcome.cost_nano
        tally.read += usage.input_tokens
        tally.written += usage.output_tokens
        tally.cached += usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        if outcome.latency_ms is not None:
            tally.latency.observe(outcome.latency_ms)
        if outcome.ttft_ms is not None:
            tally.ttft.observe(outcome.ttft_ms)
        if sent_ms is not None:
            self._admission.observe(sent_ms)
        if outcome.estimated:
            ESTIMATED.labels(model).inc()
        if overrun := lease.overrun_nano(outcome.cost_nano):
            OVERRUNS.labels(model).inc()
            OVERRUN_USD.labels(model).inc(overrun / NANO)
        if _sampled():
            self._lines.append(
                {
                    "time": time.time(),
                    "event": "call",
                    "request_id": lease.request_id,
                    "tenant_id": lease.tenant_id,
                    "model": model,
                    "route": lease.event.route,
                    "stream": lease.event.stream,
                    "status": outcome.status,
                    "http_status": outcome.http_status,
                    "input_tokens": usage.input_tokens,
                    "output_tokens": usage.output_tokens,
                    "cost_usd": f"{outcome.cost_nano / NANO:.9f}",
                    "latency_ms": outcome.latency_ms,
                    "ttft_ms": outcome.ttft_ms,
                    "estimated": outcome.estimated,
                }
            )

    def refused(self, error: TenantryError, *, request_id: str, path: str) -> None:
        """Count a request that the gateway itself answered with `error`."""
        REFUSALS.labels(error.code).inc()
        if _sampled():
            self._lines.append(
                {
                    "time": time.time(),
                    "event": "refusal",
                    "request_id": request_id,
                    "path": path[:200],
                    "code": error.code,
                    "http_status": error.status,
                }
            )

    def flush(self) -> None:
        """Add the tallies to the metrics, and write the gathered lines to standard output, in one write."""
        for (tier, model, status), tally in self._tallies.items():
            CALLS.labels(tier, model, status).inc(tally.calls)
            SPEND.labels(tier, model).inc(tally.nano / NANO)
            LATENCY.labels(model).add(tally.latency)
            TTFT.labels(model).add(tally.ttft)
            for kind, tokens in (("input", tally.read), ("output", tally.written), ("cache", tally.cached)):
                TOKENS.labels(model, kind).inc(tokens)
        self._tallies.clear()
        ADMISSION.add(self._admission)
        if self._lines:
            lines, self._lines = self._lines, []
            sys.stdout.write(redacted("".join(f"{_encode(line).decode()}\n" for line in lines)))
            sys.stdout.flush()


def _sampled() -> bool:
    sampled: float = settings.ACCESS_LOG
    return sampled >= 1 or (sampled > 0 and random.random() < sampled)
