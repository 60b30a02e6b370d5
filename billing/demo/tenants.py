"""The demo of a new installation: tiers, catalogue, prices, rules and two tenants.

Existing rows stay as staff have changed them, so seeding again changes nothing.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from django.db import connection, transaction

from billing.models import ModelPrice
from billing.prices.rates import PRICE_COLUMNS
from routing.choice import Complexity
from routing.models import ComplexityRule, Model
from routing.models.complexity_rule import RuleKind, Threshold
from routing.models.model import Family
from tenants.keys import digest_of, issue_key, revoke_key
from tenants.models import AllowedModel, ApiKey, Tenant, Tier, TierRoute


class DemoTenant(msgspec.Struct, frozen=True):
    """A tenant of the demo. `rpm` is requests/min, `budget` USD a month."""

    slug: str
    name: str
    tier: str
    models: tuple[str, ...]
    rpm: int
    budget: str


SONNET = "claude-sonnet-4-20250514"
OPUS = "claude-opus-4-20250514"
GPT_4O = "gpt-4o"

DEMO_KEY = "demo"
# Early enough that all usage of the demo has a price.
PRICES_FROM = datetime(2024, 1, 1, tzinfo=UTC)

CATALOGUE = {
    SONNET: {"family": Family.CLAUDE, "context_window": 200_000, "max_output_tokens": 64_000},
    OPUS: {"family": Family.CLAUDE, "context_window": 200_000, "max_output_tokens": 32_000},
    GPT_4O: {"family": Family.GPT, "context_window": 128_000, "max_output_tokens": 16_384},
}
# In the order of PRICE_COLUMNS: USD per 1M tokens, the last per 1000 web searches.
PRICES = {
    SONNET: ("3", "15", "0.30", "3.75", "6", "10"),
    OPUS: ("15", "75", "1.50", "18.75", "30", "10"),
    GPT_4O: ("2.50", "10", "1.25", "2.50", "2.50", "10"),
}
ROUTES = {
    "free": {Complexity.SIMPLE: SONNET, Complexity.COMPLEX: SONNET},
    "pro": {Complexity.SIMPLE: SONNET, Complexity.COMPLEX: OPUS},
    "enterprise": {Complexity.SIMPLE: SONNET, Complexity.COMPLEX: OPUS},
}
THRESHOLDS = {Threshold.BYTES: 8_000, Threshold.MESSAGES: 20, Threshold.TOOLS: 8}
KEYWORDS = (
    "analyze", "analyse", "compare", "generate code", "write code",
    "refactor", "debug", "prove", "step by step",
)  # fmt: skip
TENANTS = (
    DemoTenant("acme-corp", name="Acme Corp", tier="pro", models=(SONNET, OPUS), rpm=120, budget="500"),
    DemoTenant("startup-xyz", name="Startup XYZ", tier="free", models=(SONNET,), rpm=30, budget="50"),
)


@transaction.atomic
def seed_basics() -> None:
    """Seed catalogue, prices, tiers and rules, without tenants."""
    _seed_tiers(_seed_catalogue())
    _seed_rules()


@transaction.atomic
def seed_demo(stored_keys: Mapping[str, str] | None = None) -> dict[str, str]:
    """Seed what is missing. Returns the demo tenants' plain keys by slug, as far as they are known.

    A plain key is known if it is issued now, or if the caller stored it and it still works. If a caller that stores
    keys (`stored_keys` is not `None`) has lost one, a new one is issued and the lost one is revoked.
    """
    with connection.cursor() as cursor:  # two processes that start together seed one after the other
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('seed_demo'))")
    catalogue = _seed_catalogue()
    tiers = _seed_tiers(catalogue)
    _seed_rules()
    keys = {}
    for demo in TENANTS:
        tenant = _seed_tenant(demo, tiers=tiers, catalogue=catalogue)
        key = _demo_key(tenant, stored_keys=stored_keys)
        if key:
            keys[demo.slug] = key
    return keys


def _seed_catalogue() -> dict[str, Model]:
    catalogue = {}
    for name, facts in CATALOGUE.items():
        model, created = Model.objects.get_or_create(name=name, defaults={"upstream_name": name, **facts})
        catalogue[name] = model
        if created:
            prices = dict(zip(PRICE_COLUMNS, map(Decimal, PRICES[name]), strict=True))
            ModelPrice.objects.create(model=model, effective_from=PRICES_FROM, source="demo", **prices)
            if name == OPUS:
                Model.objects.filter(pk=model.pk).update(downgrade_to=catalogue[SONNET])
    return catalogue


def _seed_tiers(catalogue: Mapping[str, Model]) -> dict[str, Tier]:
    tiers = {}
    for name, routes in ROUTES.items():
        tier, created = Tier.objects.get_or_create(name=name)
        tiers[name] = tier
        if created:
            tier.default_models.set({catalogue[model] for model in routes.values()})
            for complexity, model in routes.items():
                TierRoute.objects.create(tier=tier, complexity=complexity.value, model=catalogue[model])
    return tiers


def _seed_rules() -> None:
    """Seed the rules only if there are none: staff who remove one do not want it back."""
    if ComplexityRule.objects.exists():
        return
    for subject, value in THRESHOLDS.items():
        ComplexityRule.objects.create(kind=RuleKind.THRESHOLD, subject=subject, value=value)
    for word in KEYWORDS:
        ComplexityRule.objects.create(kind=RuleKind.KEYWORD, subject=word)


def _seed_tenant(demo: DemoTenant, *, tiers: Mapping[str, Tier], catalogue: Mapping[str, Model]) -> Tenant:
    tenant, created = Tenant.objects.get_or_create(
        slug=demo.slug,
        defaults={
            "name": demo.name,
            "tier": tiers[demo.tier],
            "max_requests_per_minute": demo.rpm,
            "monthly_budget_usd": Decimal(demo.budget),
        },
    )
    if created:
        for name in demo.models:
            AllowedModel.objects.create(tenant=tenant, model=catalogue[name])
    return tenant


def _demo_key(tenant: Tenant, *, stored_keys: Mapping[str, str] | None) -> str | None:
    live = ApiKey.objects.filter(tenant=tenant, name=DEMO_KEY, revoked_at=None)
    stored = (stored_keys or {}).get(tenant.slug, "")
    if live.filter(digest=digest_of(stored)).exists():
        return stored
    if stored_keys is None and ApiKey.objects.filter(tenant=tenant, name=DEMO_KEY).exists():
        return None
    for lost in live:
        revoke_key(api_key=lost)
    return issue_key(tenant=tenant, name=DEMO_KEY).key
