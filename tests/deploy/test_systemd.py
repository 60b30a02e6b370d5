"""The units: by systemd's own check, and their web command on a socket that is handed to it, as systemd does."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.deploy import deployments
from tests.deploy.deployments import HOME, UNITS

ANALYZE = shutil.which("systemd-analyze")


@pytest.mark.skipif(not ANALYZE, reason="systemd is not installed")
def test_systemd_takes_every_unit(tmp_path):
    for file in UNITS.glob("tenantry*"):
        # What is not on this machine: the account, the folder, the environment's file.
        text = file.read_text().replace("User=tenantry\n", "")
        text = text.replace("/opt/tenantry/deploy/systemd/run", "/bin/true").replace("/opt/tenantry", "/tmp")
        (tmp_path / file.name).write_text(text.replace("/etc/tenantry.env", "-/etc/tenantry.env"))
    units = ["tenantry.target", "tenantry-web.socket", "tenantry-web.service", "tenantry@ledger.service"]

    done = subprocess.run(
        [str(ANALYZE), "verify", *units],
        cwd=tmp_path,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "tenantry" not in done.stderr, done.stderr


def test_nothing_is_ended_while_its_calls_still_have_time():
    grace = int(deployments.systemd({})[1].environment.get("SHUTDOWN_GRACE_SECONDS", "120"))
    [seconds] = deployments.unit("tenantry-web.service", "Service", "TimeoutStopSec")

    assert int(seconds) >= grace + 30


def test_every_process_has_a_folder_it_may_write():
    """Everything else is read-only; what Redis did not take at the end, and archives, go there."""
    for name in ("tenantry-web.service", "tenantry@.service"):
        [folder] = deployments.unit(name, "Service", "StateDirectory")
        [environment, *_] = deployments.unit(name, "Service", "Environment")
        assert f"DATA_DIR=/var/lib/{folder}" in environment
        assert deployments.unit(name, "Service", "ProtectSystem") == ["strict"]


def test_the_example_of_the_environment_holds_what_must_be_given():
    lines = (UNITS / "tenantry.env.example").read_text().splitlines()
    named = {line.split("=", 1)[0] for line in lines if line and not line.startswith("#")}

    assert {"SECRET_KEY", "EZAI_API_KEY", "DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS"} <= named
    assert {"FORWARDED_ALLOW_IPS", "SHUTDOWN_GRACE_SECONDS", "METRICS_TOKEN", "SECRETS_KEYS"} <= named


@contextlib.contextmanager
def activated(listener: socket.socket, environment: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """The web unit's command with descriptor 3 as its socket, and its own number in LISTEN_PID."""
    [web] = [each for each in deployments.systemd(environment) if each.name == "web"]
    process = subprocess.Popen(
        ["sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh", *web.command],
        cwd=HOME,
        env=web.environment | {"PATH": deployments.path(), "HOST": "192.0.2.1"},
        pass_fds=(3,),
        preexec_fn=lambda: os.dup2(listener.fileno(), 3),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@pytest.mark.stack
@pytest.mark.slow
def test_a_reload_replaces_the_web_processes_and_loses_no_call(tmp_path):
    """No store is needed to see who answers, and that somebody does."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/healthz"
    given = {
        "SECRET_KEY": "k9-Xw7_" * 8,
        "DATABASE_URL": "postgresql://127.0.0.1:9/none",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "WEB_WORKERS": "2",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
    }
    statuses: list[int | str] = []
    over = threading.Event()

    def call_on() -> None:
        while not over.wait(0.02):
            try:
                statuses.append(httpx.get(url, timeout=120).status_code)
            except httpx.HTTPError as error:
                statuses.append(repr(error))

    callers = [threading.Thread(target=call_on) for _ in range(4)]
    with activated(listener, given) as web:
        for caller in callers:  # before anything serves: they wait in the socket's queue
            caller.start()
        assert httpx.get(url, timeout=120).status_code == 200
        old = serving(web)
        [reload] = deployments.unit("tenantry-web.service", "Service", "ExecReload")
        subprocess.run(reload.replace("$MAINPID", str(web.pid)).split(), check=True)
        deadline = time.monotonic() + 180
        while (serving(web) & old or len(serving(web)) < 2) and time.monotonic() < deadline:
            time.sleep(0.5)
        replaced = serving(web)
        over.set()
        for caller in callers:
            caller.join(120)

    assert len(old) == len(replaced) == 2
    assert not old & replaced
    assert len(statuses) > 20
    assert set(statuses) == {200}


def serving(web: "subprocess.Popen[bytes]") -> set[int]:
    """The process ids of its web processes."""
    return {child.pid for child in psutil.Process(web.pid).children()}
