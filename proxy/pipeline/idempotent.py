"""`Idempotency-Key` for calls that do not stream: the first answer is replayed, and charged once."""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable

from billing.meter.errors import MeteringUnavailable
from billing.meter.idempotency import CLAIM_MS, Claim, Kept
from gateway_project.ground.errors import TenantryError
from proxy.dialects.base import ParsedRequest
from proxy.errors import InvalidRequest
from proxy.pipeline.answers import Answer
from proxy.pipeline.call import Call

logger = logging.getLogger("tenantry.proxy")
LONGEST_KEY = 255


class IdempotencyConflict(TenantryError):
    """The key was used for another request, its first request is still running, or its answer was not kept."""

    code = "idempotency_conflict"
    status = 409
    type = "invalid_request_error"


def idempotency_key(call: Call, parsed: ParsedRequest) -> str:
    """The caller's key; empty if there is none or the call streams. Raises InvalidRequest."""
    key = call.headers.get("idempotency-key", "")
    if not key or parsed.ask.stream:
        return ""
    if len(key) > LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise InvalidRequest(
            f"idempotency-key: at most {LONGEST_KEY} printable ASCII characters.", field="idempotency-key"
        )
    return key


async def once(call: Call, tenant_id: int, key: str, make: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer of `make`, or the one it gave before for the same key and body.

    Raises IdempotencyConflict, MeteringUnavailable, and what `make` raises.
    """
    digest = hashlib.sha256(call.target.encode() + b"\0" + call.body).digest()
    claim = Claim(call.runtime.meter.pipe, tenant_id, key, digest)
    # If the caller leaves now, the key must not stay claimed for a call that nobody makes.
    with call.client.uncut():
        known = await claim.take(call.request_id)
    if known is not None:
        return _replayed(known, digest)
    renewing = call.runtime.background.keep(_renew(claim))
    answer: Answer | None = None
    try:
        answer = await make()
    finally:
        renewing.cancel()
        try:
            await _finish(_outcome_of(claim, answer, call))
        except BaseException:
            # The caller left just now, so nobody will start or close the stream.
            if answer is not None and answer.close is not None:
                answer.close()
            raise
    return answer


def _outcome_of(claim: Claim, answer: Answer | None, call: Call) -> Awaitable[object]:
    """Keep a successful answer with its claim, or release the claim for another try."""
    if answer is None or answer.status >= 400 or answer.pieces is not None:
        return claim.give_up()
    return claim.keep(
        Kept(
            digest=claim.digest,
            state="done",
            request_id=call.request_id,
            status=answer.status,
            headers=list(answer.headers),
            body=answer.body,
        )
    )


async def _finish(work: Awaitable[object]) -> None:
    """Wait for `work`. The answer is paid for, so failing to keep it is no reason to withhold it."""
    try:
        await asyncio.shield(work)
    except MeteringUnavailable as error:
        logger.warning("An idempotent answer was not kept: %s", error.message)


async def _renew(claim: Claim) -> None:
    while True:
        await asyncio.sleep(CLAIM_MS / 3000)
        with contextlib.suppress(MeteringUnavailable):
            await claim.renew()


def _replayed(known: Kept, digest: bytes) -> Answer:
    if known.digest != digest:
        raise IdempotencyConflict(
            "This idempotency-key was used for a different request. Use a new key for each request.",
            headers={"x-should-retry": "false"},
        )
    if known.state == "running":
        raise IdempotencyConflict(
            "The first request with this idempotency-key is still running. Try again to get its response.",
            headers={"retry-after": "1", "x-should-retry": "true"},
        )
    if known.body is None:
        raise IdempotencyConflict(
            "This request was completed and charged, but its response was too large to store. "
            f"See GET /v1/requests/{known.request_id}.",
            headers={"x-should-retry": "false"},
        )
    headers = [*known.headers, (b"idempotent-replayed", b"true")]
    return Answer(status=known.status, headers=headers, body=known.body)
