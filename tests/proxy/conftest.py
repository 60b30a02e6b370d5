"""A tenant with a key and two models, a warm meter, and the application in front of a scripted upstream."""

from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from billing.ledger.books import check_books
from billing.ledger.drain import Drain
from billing.models import DailyUsage, UsageRecord
from gateway_project.ground.by_token import forget_all
from gateway_project.ground.redis_keys import every_tag
from tests.factories import (
    ApiKeyFactory,
    ComplexityRuleFactory,
    ModelFactory,
    ModelPriceFactory,
    TenantFactory,
    TierFactory,
    TierRouteFactory,
)
from tests.proxy.gateway import finished, new_runtime, runtime
from tests.proxy.scripted_upstream import SONNET, Talk, upstream_that


@dataclass
class World:
    tenant: Any
    key: str
    sonnet: Any
    opus: Any

    def with_limits(self, **limits: Any) -> None:
        for name, value in limits.items():
            setattr(self.tenant, name, value)
        self.tenant.save()

    def prefer(self, *, default: Any, simple: Any, complex: Any) -> None:
        self.with_limits(default_model=default)
        TierRouteFactory(tier=self.tenant.tier, complexity="simple", model=simple)
        TierRouteFactory(tier=self.tenant.tier, complexity="complex", model=complex)
        ComplexityRuleFactory(kind="keyword", subject="analyze")


@pytest.fixture
def world(transactional_db, redis_server):
    forget_all()
    new_runtime()
    for tag in every_tag():
        redis_server.hset(f"{tag}:shard", mapping={"epoch": "e", "opens_ms": 0})
    sonnet = ModelFactory(name=SONNET, max_output_tokens=64_000)
    opus = ModelFactory(name="claude-opus-4-20250514", max_output_tokens=32_000, downgrade_to=sonnet)
    ModelPriceFactory(model=sonnet)
    ModelPriceFactory(model=opus, input_usd=15, output_usd=75)
    tenant = TenantFactory(
        tier=TierFactory(max_requests_per_minute=1000, monthly_budget_usd=Decimal(100)),
        models=[sonnet, opus],
    )
    return World(tenant=tenant, key=ApiKeyFactory(tenant=tenant).plain, sonnet=sonnet, opus=opus)


@pytest.fixture
def upstream_answering(settings):
    """`async with upstream_answering(talk) as upstream:` puts that upstream behind the gateway."""

    @asynccontextmanager
    async def answering(talk: Talk):
        async with upstream_that(talk) as scripted:
            settings.EZAI_BASE_URL = scripted.url
            settings.EZAI_API_KEY = "ezai-secret"
            yield scripted
            await runtime().close()
            new_runtime()

    return answering


@dataclass
class Books:
    """The three books after a drain."""

    rows: list[UsageRecord]
    rollups: list[DailyUsage]
    balanced: bool
    reserved_usd: Decimal

    @property
    def row(self) -> UsageRecord:
        [row] = self.rows
        return row


@pytest.fixture
def books(world):
    """`await books()`: drain what was settled and read the ledger."""

    def read() -> Books:
        Drain().step()
        [book] = check_books([world.tenant])
        return Books(
            rows=list(UsageRecord.objects.order_by("created_at")),
            rollups=list(DailyUsage.objects.all()),
            balanced=book.ok and not book.undrained,
            reserved_usd=book.reserved_usd,
        )

    async def drained() -> Books:
        await finished()
        return await sync_to_async(read)()

    return drained
