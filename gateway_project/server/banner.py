"""What `make up` prints, and how it finds out that everything is ready."""

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
    """Make output possible even if descriptors are closed or the terminal cannot encode our characters."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(
                os.open(os.devnull, os.O_RDWR), True
            )  # it gets the lowest free descriptor: this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - for as long as this runs
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(line: str) -> None:
    """Print a line of `make up` itself; with LOG_FORMAT=json as an object."""
    if not is_json():
        write(line)
    elif line.strip():
        write(line_of("tenantry.up", line.strip()))


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Print what is being done, and then how long it took."""
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
    """Print `line`. A closed terminal is ignored, so that it does not end `make up` in the middle of something."""
    try:
        print(line, end=end, flush=True)
    except OSError:
        # Otherwise Python would try again at exit, and fail with an exit code.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def who_is_missing(base: str) -> list[str]:
    """What is not ready yet by `/readyz`; `web` while it does not respond."""
    try:
        with urllib.request.urlopen(f"{base}/readyz", timeout=2) as answer:  # noqa: S310 - our own loopback address
            states = json.load(answer)
    except urllib.error.HTTPError as error:
        states = json.load(error)
    except (OSError, ValueError):
        return ["web"]
    return [name for name, state in states.items() if state != "ok" and name != "status"]


def greeting(*, base: str, demo: dict[str, Any], sandbox: bool) -> Iterable[str]:
    """The lines with addresses, password and key."""
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
    """The lines with addresses only, without secrets, for a log that is collected."""
    yield f"Console: {base}/admin/"
    if "portal" in demo:
        yield f"Portal: {base}/portal/"
    yield f"API: {base}/api/docs/"
    yield f"The passwords and keys from the first start are in {file}"


def memory(pid: int) -> str:
    """The memory of this process and all its descendants. Shared pages count once, if the system reports them."""
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
