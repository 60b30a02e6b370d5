"""What `make up` prints when everything is ready, and how it knows."""

import contextlib
import io
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil

from gateway_project.ground.logs import is_json, line_of

_CURL = """\
  curl -i {base}/v1/messages \\
    -H 'x-api-key: {key}' -H 'anthropic-version: 2023-06-01' \\
    -H 'content-type: application/json' \\
    -d '{{"model":"claude-sonnet-4-20250514","max_tokens":100,"messages":[{{"role":"user","content":"Hello"}}]}}'
"""


def open_output() -> None:
    """Have somewhere to write, though descriptors were closed or the terminal does not know our letters."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free: this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - for as long as this runs
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(line: str) -> None:
    """A line of `make up` itself; with LOG_FORMAT=json an object, as all the others are."""
    if not is_json():
        write(line)
    elif line.strip():
        write(line_of("tenantry.up", line.strip()))


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """What is done now, and how long it took."""
    began = time.monotonic()
    if not is_json():
        write(f"  {title} … ", end="")
    result = "failed"
    try:
        yield
        result = f"{time.monotonic() - began:.1f} s"
    finally:
        say(f"{title}: {result}" if is_json() else result)


def write(line: str, *, end: str = "\n") -> None:
    """A terminal that was closed is no reason to end in the middle of something."""
    try:
        print(line, end=end, flush=True)
    except OSError:
        # What could not be written would be tried again at the end, and be the exit code then.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def who_is_missing(base: str) -> list[str]:
    """What has not said yet that it is ready, by `/readyz`; `web` while nobody answers there."""
    try:
        with urllib.request.urlopen(f"{base}/readyz", timeout=2) as answer:  # noqa: S310 - our own loopback address
            said = json.load(answer)
    except urllib.error.HTTPError as error:
        said = json.load(error)
    except (OSError, ValueError):
        return ["web"]
    return [name for name, state in said.items() if state != "ok" and name != "status"]


def greeting(*, base: str, demo: dict[str, Any], sandbox: bool) -> Iterable[str]:
    """Where to go with what password and key."""
    if sandbox:
        yield ""
        yield "  *** SANDBOX: no EZAI_API_KEY is set. Responses come from a local stand-in and cost nothing. ***"
    yield ""
    yield f"  Console  {base}/admin/   user admin   password {demo.get('password', '(yours)')}"
    if "portal" in demo:
        yield f"  Portal   {base}/portal/  user portal  password {demo['portal']}"
    yield f"  API      {base}/api/docs/"
    for slug, key in demo.get("keys", {}).items():
        yield f"  Key      {slug:<12} {key}"
    if key := demo.get("keys", {}).get("acme-corp"):
        yield ""
        yield "  Try it:"
        yield ""
        yield _CURL.format(base=base, key=key)


def addresses(*, base: str, demo: dict[str, Any], file: Path) -> Iterable[str]:
    """Where to go, for a log that is gathered and kept: without what lets anybody in."""
    yield f"Console: {base}/admin/"
    if "portal" in demo:
        yield f"Portal: {base}/portal/"
    yield f"API: {base}/api/docs/"
    yield f"The passwords and keys from the first start are in {file}"


def memory(pid: int) -> str:
    """What this process and all below it take; pages they share are counted once, where the system tells."""
    total, count, proportional = 0, 0, True
    first = psutil.Process(pid)
    for process in (first, *first.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            taken = process.memory_full_info()
            proportional = proportional and hasattr(taken, "pss")
            total += getattr(taken, "pss", taken.rss)
            count += 1
    return f"{total // 2**20} MB in {count} processes" + (
        "" if proportional else ", counting shared pages more than once"
    )


def read_demo(data: Path) -> dict[str, Any]:
    file = data / "demo.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}
