"""Who calls: a key becomes a principal, from this process's memory wherever that is still true."""

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
from tenants.throttle import failures

MOST_CACHED = 50_000
_cache: OrderedDict[str, Principal] = OrderedDict()
_loading: dict[str, asyncio.Future[Principal | None]] = {}
# Loads are rare and short; threads of their own keep them off the loop and off each other's heels.
_threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="policy")


class InvalidApiKey(TenantryError):
    code = "invalid_api_key"
    status = 401
    type = "authentication_error"

    def __init__(self) -> None:
        super().__init__("Invalid API key. Send it as x-api-key or as Authorization: Bearer.")


class KeyRefused(TenantryError):
    """A key of ours that may not be used, and the tenant it is of."""

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
    """The key can't be looked up now. Never a 401: the key may be a good one."""

    code = "metering_unavailable"
    status = 503
    type = "api_error"

    def __init__(self) -> None:
        super().__init__(
            "API keys cannot be checked right now. Try again shortly.", headers={"retry-after": "1"}
        )


def presented_key(headers: Mapping[str, str]) -> str:
    """The one key in `x-api-key` and `Authorization: Bearer`.

    Raises InvalidApiKey without one, with two that differ, and for a header that was sent twice (it arrives
    joined by a comma, which no key contains).
    """
    named = headers.get("x-api-key", "").strip()
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    bearer = bearer.strip() if scheme.lower() == "bearer" else ""
    key = named or bearer
    if not key or (named and bearer and named != bearer) or "," in key or len(key) > 200:
        raise InvalidApiKey
    return key


async def authenticate(headers: Mapping[str, str], *, address: str = "") -> Principal:
    """The caller behind `headers` (lower-case names). Raises the 401s and 403 of the error table, or 503;
    TooManyFailures where `address` has shown too many wrong keys and this one is not in memory.
    """
    digest = hashlib.sha256(presented_key(headers).encode()).hexdigest()
    principal = _cache.get(digest)
    if principal is not None:
        try:
            return _in_good_standing(principal)
        except TenantryError:
            # A no from memory may be out of date (resumed, extended): only PostgreSQL says no.
            _cache.pop(digest, None)
    else:
        failures.check(address)
    try:
        return _in_good_standing(await _load(digest))
    except InvalidApiKey:
        failures.failed(address)
        raise


async def refresh(principal: Principal, headers: Mapping[str, str]) -> Principal:
    """The same caller under the policy in force now: for a snapshot that the meter found stale."""
    digest = hashlib.sha256(presented_key(headers).encode()).hexdigest()
    if _cache.get(digest) is principal:
        del _cache[digest]
    return await authenticate(headers)


def forget() -> None:
    """Drop every cached policy, and the addresses that showed wrong keys."""
    forget_policies()
    failures.forget()


def forget_policies() -> None:
    """Read every policy again: a Redis that has lost its last second may call an old one current again."""
    _cache.clear()
    forget_all()


def _in_good_standing(principal: Principal) -> Principal:
    key, policy = principal.key, principal.policy
    if key.revoked_at is not None:
        raise KeyRevoked("This API key has been revoked. Use another key.", policy)
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        raise KeyExpired("This API key has expired. Use another key.", policy)
    if policy.suspended:
        raise TenantSuspended("This account is suspended. Contact your provider.", policy)
    return principal


async def _load(digest: str) -> Principal:
    loading = _loading.get(digest)
    if loading is None or loading.get_loop() is not asyncio.get_running_loop():
        loop = asyncio.get_running_loop()
        loading = _loading[digest] = loop.run_in_executor(_threads, _load_in_thread, digest)
        loading.add_done_callback(lambda _: _loading.pop(digest, None))
    try:
        principal = await asyncio.shield(loading)
    except (DatabaseError, *STORE_ERRORS) as error:
        raise PolicyUnavailable from error
    if principal is None:
        raise InvalidApiKey
    _cache[digest] = principal
    if len(_cache) > MOST_CACHED:
        _cache.popitem(last=False)
    return principal


def _load_in_thread(digest: str) -> Principal | None:
    close_old_connections()
    try:
        return load_principal(digest)
    finally:
        close_old_connections()
