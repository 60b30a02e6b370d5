"""A whole installation, as `make up` starts it, in a folder and on a port of its own."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec

from tests.folders import throwaway_folder
from tests.sandbox import free_port

GREETING = re.compile(r"  Key  |    -H 'x-api-key: ")
HOME = Path(__file__).resolve().parents[2]


class Stack(msgspec.Struct):
    """A running installation."""

    url: str
    keys: dict[str, str]
    environment: dict[str, str]
    home: Path
    passwords: dict[str, str]

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `manage.py` beside it."""
        return subprocess.run(
            [sys.executable, "-W", "ignore", "manage.py", *arguments],
            cwd=HOME,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def operator(self) -> httpx.Client:
        """A client of the control API, as a new operator."""
        printed = json.loads(self.manage("create_operator", "tester").stdout)
        return httpx.Client(base_url=self.url, headers={"authorization": f"Token {printed['token']}"})


@contextlib.contextmanager
def running_stack() -> Iterator[Stack]:
    home = throwaway_folder("tenantry-stack-")
    port = free_port()
    given = (
        "DATABASE_URL",
        "REDIS_URL",
        "DATA_DIR",
        "SECRET_KEY",
        "EZAI_API_KEY",
        "EZAI_BASE_URL",
        "EMAIL_HOST",
    )
    environment = {name: value for name, value in os.environ.items() if name not in given}
    environment |= {"DATA_DIR": str(home), "PORT": str(port), "WEB_WORKERS": "2"}
    log = (home / "up.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "gateway_project.up"],
        cwd=HOME,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process, home / "up.log")
        demo = json.loads((home / "demo.json").read_text())
        yield Stack(
            url=url,
            keys=demo["keys"],
            environment=environment,
            home=home,
            passwords={"admin": demo["password"], "portal": demo["portal"]},
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        log.close()
        written = "\n".join(
            line for line in (home / "up.log").read_text().splitlines() if not GREETING.match(line)
        )
        assert "tn_" not in written, written  # a key is shown in the greeting and nowhere else
        shutil.rmtree(home, ignore_errors=True)


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 300  # other heavy work may share the machine
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"the stack did not come up:\n{log.read_text()}")
