"""The meter's client of a Redis Cluster: a pipe to each node, and a map of which node serves which slot.

Every command and script touches one slot (see `gateway_project/ground/redis_keys.py`). A node that does not serve it
says so without executing anything, so sending it elsewhere never does a thing twice.
"""

import asyncio
from typing import Any
from urllib.parse import quote

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from billing.meter.connection.pipe import NodePipe, RedisPipe
from billing.meter.connection.protocol import Elsewhere
from billing.meter.connection.script import Argument
from billing.meter.errors import MeteringUnavailable
from gateway_project.ground.redis_address import ClusterAddress, cluster_address

_PAUSES = (0.002, 0.1)  # seconds before the command is sent again: at first, at most
_REFRESH_EVERY = 0.2  # seconds


def open_pipe(url: str, *, timeout: float = 1.0) -> RedisPipe:
    """The pipe to the server, or the cluster, that `url` names."""
    cluster = cluster_address(url)
    return NodePipe(url, timeout=timeout) if cluster is None else ClusterPipe(cluster, timeout=timeout)


class ClusterPipe(RedisPipe):
    """A pipe to a cluster. `timeout` seconds bound each node's reply, and the time spent on redirections."""

    def __init__(self, address: ClusterAddress, *, timeout: float = 1.0) -> None:
        super().__init__()
        self._address = address
        self._timeout = timeout
        # A node that left stays here: the sum of all generations must never shrink.
        self._nodes: dict[tuple[str, int], NodePipe] = {}
        self._slots: list[NodePipe | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._moves = 0  # changes of the map: a replica that took over may lack its master's last writes
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = float("-inf")

    @property
    def generation(self) -> int:  # type: ignore[override]  # read only here
        return self._moves + sum(node.generation for node in self._nodes.values())

    async def send(self, command: bytes, key: Argument | None) -> Any:
        slot = 0 if key is None else _slot(key)
        node = self._slots[slot] or await self._find(slot)
        try:
            return await node.send(command, key)
        except Elsewhere as elsewhere:
            return await self._follow(elsewhere, slot, command)
        except MeteringUnavailable:
            self._refresh()  # a replica may have taken over
            raise

    async def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            self._refreshing = None
        for node in self._nodes.values():
            await node.close()

    async def _follow(self, elsewhere: Elsewhere, slot: int, command: bytes) -> Any:
        """Send the command where, or when, a node said to. Raises the last redirection once the time is up."""
        loop = asyncio.get_running_loop()
        deadline, (pause, longest) = loop.time() + self._timeout, _PAUSES
        while True:
            if elsewhere.kind in ("MOVED", "ASK"):
                host, _, port = elsewhere.target.rpartition(":")
                node = self._node(host or self._address.nodes[0][0], int(port))
            else:
                # The slot's keys are split between two nodes, or no node serves it. Both pass.
                await asyncio.sleep(pause)
                pause = min(longest, pause * 2)
                node = self._slots[slot] or await self._find(slot)
            if elsewhere.kind != "ASK":
                self._refresh()
            try:
                return await (
                    node.send_asking(command) if elsewhere.kind == "ASK" else node.send(command, None)
                )
            except Elsewhere as again:
                if loop.time() > deadline:
                    raise
                elsewhere = again

    def _node(self, host: str, port: int) -> NodePipe:
        found = self._nodes.get((host, port))
        if found is None:
            cluster = self._address
            login = ""
            if cluster.password is not None:
                login = f"{quote(cluster.username or '', safe='')}:{quote(cluster.password, safe='')}@"
            scheme = "rediss" if cluster.secure else "redis"
            target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            found = self._nodes[(host, port)] = NodePipe(f"{scheme}://{login}{target}", timeout=self._timeout)
        return found

    async def _find(self, slot: int) -> NodePipe:
        self._refreshed_at = float("-inf")
        await asyncio.shield(self._refresh())
        node = self._slots[slot]
        if node is None:
            raise MeteringUnavailable("No node of the metering store serves this tenant now.")
        return node

    def _refresh(self) -> asyncio.Task[None]:
        """Read the slot map, once for all who wait for it and at most every `_REFRESH_EVERY` seconds."""
        loop = asyncio.get_running_loop()
        running = self._refreshing
        if running is None or (running.done() and loop.time() - self._refreshed_at > _REFRESH_EVERY):
            running = self._refreshing = loop.create_task(self._read_map())
        return running

    async def _read_map(self) -> None:
        """Ask one node after another until one replies. If none does, the map stays as it is."""
        known = list(dict.fromkeys([*self._address.nodes, *self._nodes]))
        for host, port in known:
            try:
                ranges = await self._node(host, port).call("CLUSTER", "SLOTS")
            except MeteringUnavailable:
                continue
            served: list[NodePipe | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
            for first, last, (master_host, master_port, *_), *_ in ranges:
                master = self._node(master_host.decode() if master_host else host, master_port)
                served[first : last + 1] = [master] * (last - first + 1)
            if served != self._slots:
                self._slots = served
                self._moves += 1
            break
        self._refreshed_at = asyncio.get_running_loop().time()


def _slot(key: Argument) -> int:
    return key_slot(key.encode() if isinstance(key, str) else bytes(key))  # type: ignore[arg-type]  # no number
