"""The answers to idempotent calls, kept by the caller's key, so that a repeated call is not made again."""

import hashlib
from typing import Literal

import msgspec

from billing.meter.connection.pipe import RedisPipe
from billing.meter.scripts import REMEMBER, RememberArguments, RememberKeys
from gateway_project.ground.redis_keys import idempotency_bytes, idempotency_index, idempotency_key

KEPT_MS = 24 * 3600 * 1000
# A running call renews its claim. The claim of a process that died expires after this.
CLAIM_MS = 15_000
LARGEST_ANSWER = 256 * 1024
MOST_BYTES_A_TENANT = 32 * 1024 * 1024


class Kept(msgspec.Struct, frozen=True):
    """What is stored under a key. `digest` is the request's. `body` is `None` if it was too large to keep."""

    digest: bytes
    state: Literal["running", "done"]
    request_id: str = ""
    status: int = 0
    headers: list[tuple[bytes, bytes]] = []
    body: bytes | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Kept).decode


class Claim:
    """One tenant's idempotency key for one request."""

    def __init__(self, pipe: RedisPipe, tenant_id: int, key: str, digest: bytes) -> None:
        self._pipe = pipe
        self._tenant_id = tenant_id
        self._name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        self._redis_key = idempotency_key(tenant_id, self._name)
        self.digest = digest

    async def take(self, request_id: str) -> Kept | None:
        """Claim the key. Returns `None`, or what is already stored under it. Raises MeteringUnavailable."""
        mine = _encode(Kept(digest=self.digest, state="running", request_id=request_id))
        for _ in range(3):
            if await self._pipe.call("SET", self._redis_key, mine, "NX", "PX", CLAIM_MS):
                return None
            known = await self._pipe.call("GET", self._redis_key)
            if known is not None:
                return _decode(known)
        return Kept(digest=self.digest, state="running")

    async def renew(self) -> None:
        await self._pipe.call("PEXPIRE", self._redis_key, CLAIM_MS)

    async def keep(self, answer: Kept) -> None:
        """Store `answer`, to be replayed for a day."""
        if answer.body is not None and len(answer.body) > LARGEST_ANSWER:
            answer = msgspec.structs.replace(answer, body=None, headers=[])
        await self._pipe.run(
            REMEMBER,
            RememberKeys(
                answer=self._redis_key,
                kept_index=idempotency_index(self._tenant_id),
                kept_bytes=idempotency_bytes(self._tenant_id),
            ),
            RememberArguments(
                value=_encode(answer),
                keep_ms=KEPT_MS,
                most_bytes=MOST_BYTES_A_TENANT,
                name=self._name,
                key_prefix=idempotency_key(self._tenant_id),
            ),
        )

    async def give_up(self) -> None:
        """Release the key: there is no answer to replay, so a repeated call is made again."""
        await self._pipe.call("DEL", self._redis_key)
