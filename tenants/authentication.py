"""Authenticate callers: turn a key into a principal, from memory while its policy is current."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from django.db import DatabaseError, close_old_connections

from gateway_project.ground.by_token import forget_all
from gateway_project.ground.errors import TenantryError
from gateway_project.ground.redis_address import STORE_ERRORS
from tenants.policy import Policy, Principal
from tenants.snapshots import load_principal
from tenants.throttle import FailureWindow

MOST_KNOWN = 50_000


class InvalidApiKey(TenantryError):
    code = "invalid_api_key"
    status = 401
    type = "authentication_error"

    def __init__(self) -> None:
        super().__init__("Invalid API key. Send it as x-api-key or as Authorization: Bearer.")


class KeyRefused(TenantryError):
    """A known key that may not be used, with its tenant's policy."""

    status = 401
    type = "authentication_error"

    def __init__(self, message: str, policy: Policy) -> None:
        super().__init__(message)
        self.policy = policy


class KeyExpired(KeyRefused):
    code = "key_expired"


class KeyRevoked(KeyRefused):
    code = "key_revoked"


class TenantSuspended(KeyRefused):
    code = "tenant_suspended"
    status = 403
    type = "permission_error"


class PolicyUnavailable(TenantryError):
    """The key cannot be looked up now. Not a 401, since the key may be valid."""

    code = "metering_unavailable"
    status = 503
    type = "api_error"

    def __init__(self) -> None:
        super().__init__(
            "API keys cannot be checked right now. Try again shortly.", headers={"retry-after": "1"}
        )


def presented_key(headers: Mapping[str, str]) -> str:
    """The key in `x-api-key` or `Authorization: Bearer`.

    Raises InvalidApiKey without a key, with two different ones, and for a header that was sent twice, which arrives
    joined by a comma.
    """
    named = headers.get("x-api-key", "").strip()
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    bearer = bearer.strip() if scheme.lower() == "bearer" else ""
    key = named or bearer
    if not key or (named and bearer and named != bearer) or "," in key or len(key) > 200:
        raise InvalidApiKey
    return key


class Authenticator:
    """The principals of one process. A key seen before needs no query."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Principal] = OrderedDict()
        self._loading: dict[str, asyncio.Future[Principal | None]] = {}
        # Loads are rare and short. Threads of their own keep them off the event loop.
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="policy")
        self._failures = FailureWindow()

    def close(self) -> None:
        """Start no more loads."""
        self._threads.shutdown(wait=False)

    async def authenticate(self, headers: Mapping[str, str], *, address: str = "") -> Principal:
        """The caller behind `headers` (lower-case names).

        Raises the 401s and the 403 of the error table, PolicyUnavailable, or TooManyFailures if `address` has sent too
        many wrong keys and this one is not in memory.
        """
        digest = hashlib.sha256(presented_key(headers).encode()).hexdigest()
        principal = self._known.get(digest)
        if principal is not None:
            try:
                return _in_good_standing(principal)
            except TenantryError:
                # A refusal from memory may be out of date (resumed, extended): only PostgreSQL decides to refuse.
                self._known.pop(digest, None)
        else:
            self._failures.check(address)
        try:
            return _in_good_standing(await self._load(digest))
        except InvalidApiKey:
            self._failures.failed(address)
            raise

    async def refresh(self, principal: Principal, headers: Mapping[str, str]) -> Principal:
        """The same caller under the policy in force now, after the meter found the snapshot stale. Raises as above."""
        digest = hashlib.sha256(presented_key(headers).encode()).hexdigest()
        if self._known.get(digest) is principal:
            del self._known[digest]
        return await self.authenticate(headers)

    def forget_policies(self) -> None:
        """Drop every principal and policy: a Redis that lost its last second may call an old one current again."""
        self._known.clear()
        forget_all()

    async def _load(self, digest: str) -> Principal:
        loading = self._loading.get(digest)
        if loading is None:
            loop = asyncio.get_running_loop()
            loading = self._loading[digest] = loop.run_in_executor(self._threads, _load_in_thread, digest)
            loading.add_done_callback(lambda _: self._loading.pop(digest, None))
        try:
            principal = await asyncio.shield(loading)
        except (DatabaseError, *STORE_ERRORS) as error:
            raise PolicyUnavailable from error
        if principal is None:
            raise InvalidApiKey
        self._known[digest] = principal
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return principal


def _in_good_standing(principal: Principal) -> Principal:
    key, policy = principal.key, principal.policy
    if key.revoked_at is not None:
        raise KeyRevoked("This API key has been revoked. Use another key.", policy)
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        raise KeyExpired("This API key has expired. Use another key.", policy)
    if policy.suspended:
        raise TenantSuspended("This account is suspended. Contact your provider.", policy)
    return principal


def _load_in_thread(digest: str) -> Principal | None:
    close_old_connections()
    try:
        return load_principal(digest)
    finally:
        close_old_connections()
