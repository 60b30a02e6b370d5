"""A burst of calls at one budget, while somebody watches the counter."""

import asyncio
import threading
import time
from collections import Counter
from decimal import Decimal
from typing import Any

import aiohttp
import httpx
import msgspec
import redis

from tests.chaos.installation import SONNET, Installation, operator_of

BUDGET = Decimal(5)
LEVELS = ("tenant", "key", "user", "run")
# 6,600 tokens of Sonnet's output are 9.9 cents, and the prompt is the rest of a dime.
TEN_CENTS = "[[sandbox input_tokens=100 output_tokens=6600 latency_ms=300]]"


class Target(msgspec.Struct):
    """A tenant whose budget at one level is 5 USD, and how a call says that it counts against that."""

    slug: str
    key: str
    headers: dict[str, str]
    fields: dict[str, Any]


class Burst(msgspec.Struct):
    """What came of it. `most` is the most that was ever spent and held at once."""

    statuses: Counter[str]
    spent: Decimal
    most: Decimal
    reserved: Decimal


def aim(operator: httpx.Client, slug: str, level: str) -> Target:
    body: dict[str, Any] = {
        "slug": slug,
        "name": slug,
        "tier": "enterprise",
        "allowed_models": [SONNET],
        "max_requests_per_minute": 100_000,
        "max_concurrency": 100_000,
        "max_tokens_per_day": 10**12,
        "monthly_budget_usd": str(BUDGET if level == "tenant" else 1000),
        "user_monthly_budget_usd": str(BUDGET) if level == "user" else None,
    }
    answer = operator.post("/api/tenants/", json=body)
    assert answer.status_code == 201, answer.text
    own = {"name": "fire", "monthly_budget_usd": str(BUDGET) if level == "key" else None}
    key = operator.post(f"/api/tenants/{slug}/keys/", json=own).json()["key"]
    headers = (
        {"x-tenantry-run-id": "nightly", "x-tenantry-run-max-usd": str(BUDGET)} if level == "run" else {}
    )
    fields = {"metadata": {"user_id": "ann"}} if level == "user" else {}
    return Target(slug=slug, key=key, headers=headers, fields=fields)


class Watch:
    """`with Watch(redis) as watch:` reads every budget again and again; `watch.most` is the most it saw, in USD."""

    def __init__(self, client: "redis.Redis", tenant_id: int, level: str) -> None:
        kind = {"tenant": "b:*", "key": "k:*:b:*", "user": "u:*:b:*", "run": "r:*:b"}[level]
        self._client, self._pattern = client, f"*:t:{tenant_id}:{kind}"
        self._over = threading.Event()
        self.most = Decimal(0)

    def __enter__(self) -> "Watch":
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(10)

    def _read(self) -> None:
        names: list[Any] = []
        while not self._over.wait(0.01):
            names = names or list(self._client.scan_iter(self._pattern, count=1000))
            for name in names:
                spent, held = (int(each or 0) for each in self._client.hmget(name, "spent", "held"))
                self.most = max(self.most, Decimal(spent + held).scaleb(-9))


def fire(
    installation: Installation, target: Target, level: str, *, calls: int, content: str, **fields: Any
) -> Burst:
    """All `calls` at once; returns when all have their answers and nothing is open or undrained any more."""
    client = installation.redis()
    with operator_of(installation) as operator:
        tenant_id = _id_of(installation, target.slug)
        with Watch(client, tenant_id, level) as watch:
            statuses = asyncio.run(_all_at_once(installation.url, target, calls, content, fields))
            _wait_until_over(client, tenant_id)
        found = [client.hget(name, "held") for name in client.scan_iter(f"*:t:{tenant_id}:*b*")]
        rows = _rows(operator, target.slug)
    return Burst(
        statuses=statuses,
        spent=sum((Decimal(row["cost_usd"]) for row in rows), Decimal(0)),
        most=watch.most,
        reserved=Decimal(sum(int(held or 0) for held in found)),
    )


async def _all_at_once(
    url: str, target: Target, calls: int, content: str, fields: dict[str, Any]
) -> Counter[str]:
    body = {
        "model": SONNET,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 6600,
        **target.fields,
        **fields,
    }
    headers = {"x-api-key": target.key, **target.headers}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=150)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout, headers=headers) as session:
        return Counter(await asyncio.gather(*(_call(session, body) for _ in range(calls))))


async def _call(session: aiohttp.ClientSession, body: dict[str, Any]) -> str:
    """Its status; of a stream also how it ended: 'whole', 'cut' (and told why) or 'broken'."""
    async with session.post("/v1/messages", json=body) as answer:
        read = await answer.read()
    if answer.status != 200 or not body.get("stream"):
        return str(answer.status)
    if b"event: message_stop" in read[-200:]:
        return "whole"
    return "cut" if b'"code":"budget_exceeded"' in read[-1000:] else "broken"


def _wait_until_over(client: "redis.Redis", tenant_id: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        leases = sum(client.hlen(name) for name in client.scan_iter(f"*:t:{tenant_id}:leases"))
        waiting = sum(client.xlen(name) for name in client.scan_iter("*:usage", _type="stream"))
        if not leases and not waiting:
            return
        time.sleep(0.1)
    raise TimeoutError("calls are still open, or events undrained")


def _id_of(installation: Installation, slug: str) -> int:
    code = f"from tenants.models import Tenant; print(Tenant.objects.get(slug={slug!r}).pk)"
    return int(installation.manage("shell", "-v", "0", "-c", code).strip().splitlines()[-1])


def _rows(operator: httpx.Client, slug: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    url: str | None = f"/api/usage?page_size=1000&tenant={slug}"
    while url:
        page = operator.get(url).json()
        rows += page["results"]
        url = page["next"]
    return rows
