"""Where one request's time goes: py-spy's samples of the web process under load, by stage."""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench.json_calls import measured
from bench.load import drive
from bench.servers import Gateway, gateway, mock_upstream
from bench.table import Table

# A sample counts for the stage of its innermost frame that is listed here, as "function (file".
STAGES = {
    "server: HTTP in and out, the caller's connection": (
        "(uvicorn/", "(proxy/door/", "(proxy/pipeline/caller.py", "(proxy/pipeline/body.py",
        "(proxy/pipeline/call.py", "(proxy/runtime.py", "(django/", "(gateway_project/asgi.py",
        "(gateway_project/ground/http_protocol.py", "(billing/request_ids.py",
    ),
    "1 authenticate": ("(tenants/authentication.py", "(tenants/throttle.py"),
    "2 parse": (
        ".parse (proxy/dialects", "(proxy/dialects/json_edit.py", "(proxy/dialects/prompt_bound.py",
        "decode (proxy/dialects", "person (proxy/", "tags_of (proxy/", "read (proxy/dialects/headers.py",
        "_system_text",
    ),
    "3 route and price": (
        "(routing/", "(proxy/pipeline/offers.py", "(billing/prices/price_book.py", "(proxy/pipeline/plan.py",
        "(proxy/prices.py", "route (proxy/pipeline/serve.py",
    ),
    "4 admit": (
        "admit (billing/meter/__init__.py", "(billing/meter/admission.py",
        "(billing/meter/prepared_policy.py", "admit (proxy/pipeline/serve.py",
        "(proxy/pipeline/hold.py", "(proxy/pipeline/admitted.py", "(billing/meter/lease.py", "(tenants/periods.py",
        "(billing/meter/journal.py",
    ),
    "4, 6 Redis: packing, writing, reading": ("(billing/meter/connection/",),
    "5 forward": (
        "(proxy/pipeline/attempts.py", "(proxy/upstream/", "(httpx/",
        "to_upstream (proxy/dialects/headers.py", "rewrite (proxy/", "credentials (proxy/",
    ),
    "6 settle": (
        "(proxy/pipeline/settling.py", "(proxy/pipeline/charge.py", "(billing/meter/settlement.py",
        "(billing/meter/__init__.py",
        "usage_of (proxy/", "_usual (proxy/", "_reading (proxy/", "_counts (proxy/", "(billing/usage.py",
        "(proxy/background.py", "(gateway_project/ground/redis_keys.py",
    ),
    "6 count and log": ("(proxy/telemetry.py", "(prometheus_client/"),
    "7 answer": (
        "(proxy/pipeline/answers.py", "to_caller (proxy/dialects/headers.py", "rate_limit_headers (proxy/",
        "(proxy/pipeline/serve.py", "(proxy/pipeline/whole.py",
    ),
}  # fmt: skip
REST = "event loop: uvloop, tasks, sockets read"


def by_stage(seconds: float) -> list[Table]:
    with mock_upstream() as mock, gateway(mock) as ours:
        keys = ours.keys()
        drive(ours.url, keys, connections=32, seconds=3)
        run, cpu = measured(ours, keys, connections=32, seconds=seconds)
        samples = Counter[str]()
        for line in _sampled(ours, keys, seconds):
            stack, _, count = line.rpartition(" ")
            samples[_stage(stack.split(";"))] += int(count)
    total = samples.total()
    rows: list[list[object]] = [
        [stage, f"{count / total * 100:.0f} %", count / total * cpu] for stage, count in samples.most_common()
    ]
    note = f"Of {cpu:.0f} µs CPU a request at {run.per_second:,.0f} req/s over 32 connections; {total:,} samples."
    return [Table("One request, by stage", ["stage", "share", "CPU µs"], rows, note)]


def _sampled(ours: Gateway, keys: list[str], seconds: float) -> list[str]:
    """The stacks that held the interpreter's lock, each with how often it was seen."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "samples"
        command = [str(Path(sys.executable).parent / "py-spy"), "record", "--pid", str(ours.pids[0])]
        command += ["--duration", str(max(2, round(seconds))), "--rate", "250", "--gil", "--nonblocking"]
        command += ["--format", "raw", "--output", str(file)]
        sampler = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        drive(ours.url, keys, connections=32, seconds=seconds + 2)
        if sampler.wait(60):
            raise RuntimeError("py-spy could not sample the web process: it needs root, or ptrace allowed")
        return file.read_text().splitlines()


def _stage(stack: list[str]) -> str:
    for frame in reversed(stack):
        for stage, names in STAGES.items():
            if any(name in frame for name in names):
                return stage
    return REST
