"""What the data plane counts and logs. Both cost a request about 10 µs and never a system call.

Metrics are Prometheus', over all processes where PROMETHEUS_MULTIPROC_DIR is set (before the first import).
Access lines are gathered and written once a second. Amounts are floats here, as Prometheus wants them: they are
for charts, the ledger is for money.
"""

import os
import random
import sys
import time
from functools import lru_cache
from typing import Any

import msgspec
from django.conf import settings
from prometheus_client import Counter, Histogram, values

from billing.lease import Lease
from billing.meter import Outcome
from gateway_project.errors import TenantryError
from gateway_project.logs import redacted

if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
    # It asks for the process id before each of its 18 steps a call, in case of a fork; web processes never do.
    _PROCESS_ID = os.getpid()
    values.ValueClass = values.MultiProcessValue(lambda: _PROCESS_ID)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
CALLS = Counter("tenantry_calls", "Calls settled.", ["tier", "model", "status"])
REFUSALS = Counter("tenantry_refusals", "Requests answered by the gateway itself.", ["code"])
LATENCY = Histogram("tenantry_latency_seconds", "From request to last byte.", ["model"], buckets=_SECONDS)
TTFT = Histogram("tenantry_first_token_seconds", "From request to first byte.", ["model"], buckets=_SECONDS)
ADMISSION = Histogram(
    "tenantry_admission_seconds",
    "From request to being sent upstream: what the gateway adds.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1),
)
TOKENS = Counter("tenantry_tokens", "Tokens charged.", ["model", "kind"])
SPEND = Counter("tenantry_spend_usd", "Sell price charged.", ["tier", "model"])
ESTIMATED = Counter("tenantry_estimated_calls", "Calls charged by an estimate.", ["model"])
OVERRUNS = Counter("tenantry_overruns", "Calls that cost more than was reserved for them.", ["model"])
OVERRUN_USD = Counter("tenantry_overrun_usd", "By how much they did.", ["model"])

_lines: list[dict[str, Any]] = []
_encode = msgspec.json.Encoder().encode


@lru_cache(maxsize=4096)
def _children(tier: str, model: str, status: str) -> tuple[Any, ...]:
    """Looking a label up costs more than counting."""
    return (
        CALLS.labels(tier, model, status),
        SPEND.labels(tier, model),
        LATENCY.labels(model),
        TTFT.labels(model),
        TOKENS.labels(model, "input"),
        TOKENS.labels(model, "output"),
        TOKENS.labels(model, "cache"),
    )


def settled(lease: Lease, outcome: Outcome, *, tier: str, sent_ms: float | None) -> None:
    """One call is over. `sent_ms`: when it went upstream, counted from the request."""
    model = lease.offer.candidate.model.name
    calls, spend, latency, ttft, read, written, cached = _children(tier, model, outcome.status)
    usage = outcome.usage
    calls.inc()
    spend.inc(outcome.cost_nano / 1e9)
    if outcome.latency_ms is not None:
        latency.observe(outcome.latency_ms / 1000)
    if outcome.ttft_ms is not None:
        ttft.observe(outcome.ttft_ms / 1000)
    if sent_ms is not None:
        ADMISSION.observe(sent_ms / 1000)
    read.inc(usage.input_tokens)
    written.inc(usage.output_tokens)
    if cache := usage.total_tokens - usage.input_tokens - usage.output_tokens:
        cached.inc(cache)
    if outcome.estimated:
        ESTIMATED.labels(model).inc()
    if overrun := lease.overrun_nano(outcome.cost_nano):
        OVERRUNS.labels(model).inc()
        OVERRUN_USD.labels(model).inc(overrun / 1e9)
    if _sampled():
        _lines.append(
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
                "cost_usd": f"{outcome.cost_nano / 1e9:.9f}",
                "latency_ms": outcome.latency_ms,
                "ttft_ms": outcome.ttft_ms,
                "estimated": outcome.estimated,
            }
        )


def refused(error: TenantryError, *, request_id: str, path: str) -> None:
    """A request was answered by the gateway itself."""
    REFUSALS.labels(error.code).inc()
    if _sampled():
        _lines.append(
            {
                "time": time.time(),
                "event": "refusal",
                "request_id": request_id,
                "path": path[:200],
                "code": error.code,
                "http_status": error.status,
            }
        )


def write_lines() -> None:
    """Put what was gathered onto standard output, in one write."""
    if _lines:
        lines, _lines[:] = _lines[:], []
        sys.stdout.write(redacted("".join(f"{_encode(line).decode()}\n" for line in lines)))
        sys.stdout.flush()


def _sampled() -> bool:
    share: float = settings.ACCESS_LOG
    return share >= 1 or (share > 0 and random.random() < share)
