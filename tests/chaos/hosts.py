"""An installation on more than one host, as processes and ports of their own: two web hosts, two ledgers, two
workers on RabbitMQ, beat, a Redis Cluster of three masters, one PostgreSQL.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gateway_project.server.embedded import redis_command
from gateway_project.server.embedded_postgres import EmbeddedPostgres
from gateway_project.server.supervisor import Process, Supervisor
from tests.chaos.installation import Gateway
from tests.redis_cluster import Cluster, running_cluster
from tests.sandbox import free_port, running_sandbox, wait_for_port
from tests.stack.conftest import wait_until_ready

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_PYTHON = (sys.executable, "-W", "ignore")
_CELERY = (*_PYTHON, "-m", "celery", "-A", "gateway_project", "--quiet")
_OURS = ("DJANGO_SETTINGS_MODULE", "DATA_DIR", "SECRET_KEY", "TEST_REDIS")


class Hosts(Gateway):
    """`urls` of the web hosts; every process is started again when it dies."""

    urls: list[str]
    supervisor: Supervisor
    cluster: Cluster

    def kill(self, name: str) -> None:
        """`kill -9` of a process: web.1, web.2, ledger.1, …"""
        os.kill(self.supervisor.running[name].pid, signal.SIGKILL)


@contextlib.contextmanager
def running_hosts() -> Iterator[Hosts]:
    home = Path(tempfile.mkdtemp(prefix="tenantry-hosts-", dir="/tmp"))
    home.chmod(0o755)
    journal, ports = home / "journal.jsonl", [free_port(), free_port()]
    with contextlib.ExitStack() as running:
        running.callback(shutil.rmtree, home, ignore_errors=True)
        postgres = EmbeddedPostgres(home)
        running.callback(postgres.stop)
        postgres.launch()
        environment = {name: value for name, value in os.environ.items() if name not in _OURS} | {
            "DATABASE_URL": postgres.wait_until_ready(),
            "CACHE_URL": running.enter_context(_single_redis(home)),
            "CELERY_BROKER_URL": running.enter_context(_rabbitmq(home / "rabbitmq")),
            "EZAI_BASE_URL": running.enter_context(running_sandbox(journal)),
            "EZAI_API_KEY": "sandbox",
            "SECRET_KEY": secrets.token_hex(32),
            "DATA_DIR": str(home),
            "HOST": "127.0.0.1",
            "STATIC_FROM_APPS": "1",
            "UPSTREAM_TRACKING_HEADERS": "x-tenantry-request={request_id}",
        }
        cluster = running.enter_context(running_cluster(home))
        environment["REDIS_URL"] = cluster.url
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        supervisor = Supervisor(_processes(ports, home, environment), logs=home / "logs", say=_log(home))
        hosts = Hosts(
            url=urls[0], home=home, journal=journal, environment=environment, urls=urls, supervisor=supervisor,
            cluster=cluster,
        )  # fmt: skip
        hosts.manage("migrate", "--verbosity", "0")
        hosts.manage("seed_demo")
        running.enter_context(_supervised(supervisor))
        for url in urls:
            wait_until_ready(url, _Alive(), home / "log")  # type: ignore[arg-type]  # it asks for nothing else
        yield hosts


class _Alive:
    def poll(self) -> None:
        return None


def _log(home: Path) -> Callable[[str], None]:
    file = (home / "log").open("a", buffering=1)

    def say(line: str) -> None:
        file.write(line + "\n")

    return say


def _processes(ports: list[int], home: Path, environment: dict[str, str]) -> list[Process]:
    made = [
        Process(f"web.{number}", [*_PYTHON, "-m", "gateway_project.web"], environment | {"PORT": str(port)})
        for number, port in enumerate(ports, 1)
    ]
    for number in (1, 2):
        made.append(Process(f"ledger.{number}", [*_PYTHON, "manage.py", "ledger"], environment))
        worker = [*_CELERY, "worker", "--loglevel", "ERROR", "--concurrency", "1", "-n", f"worker{number}@%h"]
        made.append(Process(f"worker.{number}", worker, environment))
    beat = [*_CELERY, "beat", "--loglevel", "ERROR", "--schedule", str(home / "beat")]
    return [*made, Process("beat", beat, environment)]


@contextlib.contextmanager
def _supervised(supervisor: Supervisor) -> Iterator[None]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(supervisor.run()))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(supervisor.stop)
        thread.join(60)
        loop.close()


@contextlib.contextmanager
def _single_redis(home: Path) -> Iterator[str]:
    """For the cache alone."""
    socket = home / "cache.sock"
    server = subprocess.Popen(redis_command(home / "cache", socket), stdout=subprocess.DEVNULL)
    try:
        yield f"unix://{socket}?db=0"
    finally:
        server.terminate()
        server.wait(15)


@contextlib.contextmanager
def _rabbitmq(home: Path) -> Iterator[str]:
    """A broker of its own: its node, ports and Erlang's port mapper are nobody else's."""
    home.mkdir()
    port, mapper = free_port(), free_port()
    environment = {
        **os.environ,
        "HOME": str(home),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"tenantry{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(home / "none"),
    }
    with (home / "out").open("w") as out:
        broker = subprocess.Popen(
            [str(RABBITMQ)], env=environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        wait_for_port(port, seconds=90)
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        os.killpg(broker.pid, signal.SIGTERM)
        broker.wait(60)
        time.sleep(0.5)
        subprocess.run(["epmd", "-port", str(mapper), "-kill"], check=False, stdout=subprocess.DEVNULL)
