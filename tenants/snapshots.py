"""Read policy snapshots: a tenant's rows, its tier's and the catalogue's, from PostgreSQL into one value.

The tokens are read from Redis before the rows. A change that commits in between puts a new token, so the snapshot is
found stale at its first use. In the other order it could stay stale for ever.
"""

import uuid
from decimal import Decimal

import msgspec

from gateway_project.ground.by_token import ByToken
from gateway_project.ground.money import NanoUSD, to_nano
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import shard_key, shard_of, tenant_key
from routing.choice import CatalogueModel, Complexity, ComplexityRules
from routing.models import Model
from routing.rules import current_rules
from tenants.models import AllowedModel, ApiKey, Tenant, TenantStatus, Tier, TierDowngrade, TierRoute
from tenants.policy import (
    BudgetMode,
    DisconnectPolicy,
    KeyPolicy,
    Policy,
    PolicyVersion,
    Principal,
    Shadow,
)


class Catalogue(msgspec.Struct, frozen=True):
    """What all tenants share, and the token it was read under. `routes` and `downgrades` are by tier."""

    token: str
    models: dict[int, CatalogueModel]
    tiers: dict[int, Tier]
    routes: dict[int, dict[Complexity, str]]
    downgrades: dict[int, dict[str, str]]
    rules: ComplexityRules
    rules_in_shadow: ComplexityRules | None


def load_principal(digest: str) -> Principal | None:
    """The key with this digest and its tenant's policy; `None` if there is no such key.

    Raises DatabaseError or STORE_ERRORS while PostgreSQL or Redis is away.
    """
    tenant_id = ApiKey.objects.filter(digest=digest).values_list("tenant_id", flat=True).first()
    if tenant_id is None:
        return None
    version = read_version(tenant_id)
    row = ApiKey.objects.select_related("tenant").filter(digest=digest).first()
    if row is None:
        return None
    key = KeyPolicy(
        id=row.pk,
        name=row.name,
        prefix=row.prefix,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        requests_per_minute=row.max_requests_per_minute,
        monthly_budget_nano=_nano(row.monthly_budget_usd),
    )
    return Principal(policy=policy_of(row.tenant, version=version), key=key)


def read_version(tenant_id: int) -> PolicyVersion:
    """The tokens in force. A missing one (new tenant, flushed Redis) is put first. Raises STORE_ERRORS."""
    with store().pipeline(transaction=False) as pipeline:
        for key in (shard_key(shard_of(tenant_id)), tenant_key(tenant_id)):
            pipeline.hsetnx(key, "policy", uuid.uuid4().hex)
            pipeline.hget(key, "policy")
        _, everyone, _, tenant = pipeline.execute()
    return PolicyVersion(everyone=everyone.decode(), tenant=tenant.decode())


def policy_of(tenant: Tenant, *, version: PolicyVersion, tier: Tier | None = None) -> Policy:
    """The policy of `tenant`, with the defaults of its tier, or of `tier`, applied."""
    catalogue = _catalogues.get(version.everyone)
    tier = tier or _tier_of(tenant, catalogue)
    allowed = AllowedModel.objects.filter(tenant=tenant).values_list("model_id", flat=True)
    targets = catalogue.downgrades.get(tier.pk, {})
    models = [
        msgspec.structs.replace(model, downgrade_to=targets[model.name]) if model.name in targets else model
        for model in (catalogue.models[pk] for pk in allowed if pk in catalogue.models)
    ]

    def own(field: str) -> int | None:
        return _own(tenant, tier, field)

    default = catalogue.models.get(tenant.default_model_id or 0)
    threshold = own("downgrade_percent") or 0
    release = own("downgrade_release_percent")
    return Policy(
        version=version,
        tenant_id=tenant.pk,
        slug=tenant.slug,
        tier=tier.name,
        suspended=tenant.status != TenantStatus.ACTIVE or tenant.deleted_at is not None,
        models={model.name: model for model in models if model.enabled},
        routes=catalogue.routes.get(tier.pk, {}),
        rules=catalogue.rules,
        default_model=default.name if default else None,
        requests_per_minute=own("max_requests_per_minute"),
        user_requests_per_minute=own("max_user_requests_per_minute"),
        concurrency=own("max_concurrency"),
        tokens_per_day=own("max_tokens_per_day"),
        monthly_budget_nano=_nano(tenant.spendable_under(tier)),
        alerts_below_nano=_nano(tenant.topped_up_to_usd)
        if tenant.budget_mode == BudgetMode.PREPAID
        else None,
        user_monthly_budget_nano=_nano(own("user_monthly_budget_usd")),  # type: ignore[arg-type]
        budget_mode=BudgetMode(tenant.budget_mode),
        downgrade_percent=threshold,
        downgrade_release_percent=max(0, threshold - 10) if release is None else min(release, threshold),
        alert_percents=tuple(sorted(set(tenant.alert_percents))),
        margin_percent=str(own("margin_percent") or 0),
        timezone=tenant.timezone,
        billing_day=tenant.billing_day,
        disconnect=DisconnectPolicy(tenant.disconnect_policy),
        upstream_weight=tier.upstream_weight,
        shadow=_shadow(tenant, catalogue),
    )


def _tier_of(tenant: Tenant, catalogue: Catalogue) -> Tier:
    """The tenant's tier, as it was read once for all tenants."""
    return catalogue.tiers.get(tenant.tier_id) or tenant.tier


def _own(tenant: Tenant, tier: Tier, field: str) -> int | None:
    value = getattr(tenant, field)
    return getattr(tier, field) if value is None else value


def _shadow(tenant: Tenant, catalogue: Catalogue) -> Shadow | None:
    """The tenant's policy in shadow, if there is one. The tenant's own limits apply in it as well."""
    own = _tier_of(tenant, catalogue)
    tried = catalogue.tiers.get(tenant.shadow_tier_id or own.shadow_tier_id or 0)
    if tried is None and catalogue.rules_in_shadow is None:
        return None
    tier = tried or own
    limited = tried is not None
    return Shadow(
        requests_per_minute=_own(tenant, tier, "max_requests_per_minute") if limited else None,
        concurrency=_own(tenant, tier, "max_concurrency") if limited else None,
        tokens_per_day=_own(tenant, tier, "max_tokens_per_day") if limited else None,
        monthly_budget_nano=_nano(tenant.spendable_under(tier)) if limited else None,
        downgrade_percent=_own(tenant, tier, "downgrade_percent") or 0,
        routes=catalogue.routes.get(tier.pk, {}),
        rules=catalogue.rules_in_shadow or catalogue.rules,
    )


def _nano(usd: Decimal | None) -> NanoUSD | None:
    return None if usd is None else to_nano(usd)


def _read_catalogue(token: str) -> Catalogue:
    rules, in_shadow = current_rules()
    return Catalogue(
        token=token,
        models=_models(),
        tiers=Tier.objects.in_bulk(),
        routes=_routes(),
        downgrades=_downgrades(),
        rules=rules,
        rules_in_shadow=in_shadow,
    )


_catalogues = ByToken(_read_catalogue)


def _routes() -> dict[int, dict[Complexity, str]]:
    routes: dict[int, dict[Complexity, str]] = {}
    for tier, complexity, name in TierRoute.objects.values_list("tier_id", "complexity", "model__name"):
        routes.setdefault(tier, {})[Complexity(complexity)] = name
    return routes


def _downgrades() -> dict[int, dict[str, str]]:
    downgrades: dict[int, dict[str, str]] = {}
    for tier, name, target in TierDowngrade.objects.values_list("tier_id", "model__name", "target__name"):
        downgrades.setdefault(tier, {})[name] = target
    return downgrades


def _models() -> dict[int, CatalogueModel]:
    rows = Model.objects.select_related("downgrade_to", "fallback_to")
    return {
        row.pk: CatalogueModel(
            id=row.pk,
            name=row.name,
            upstream_name=row.upstream_name,
            family=row.family,
            context_window=row.context_window,
            max_output_tokens=row.max_output_tokens,
            downgrade_to=row.downgrade_to.name if row.downgrade_to else None,
            fallback_to=row.fallback_to.name if row.fallback_to else None,
            enabled=row.enabled,
            embeds=row.embeds,
        )
        for row in rows
    }
