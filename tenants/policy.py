"""The policy snapshot: everything that the hot path needs to know about a tenant and one of its keys."""

from datetime import datetime
from enum import StrEnum

import msgspec

from gateway_project.ground.money import NanoUSD
from routing.choice import CatalogueModel, Complexity, ComplexityRules


class BudgetMode(StrEnum):
    HARD = "hard"
    SOFT = "soft"
    PREPAID = "prepaid"


class DisconnectPolicy(StrEnum):
    CANCEL = "cancel"
    DRAIN = "drain"


class PolicyVersion(msgspec.Struct, frozen=True):
    """The two tokens in Redis just before the snapshot was read: of all policies, and of this tenant's."""

    everyone: str
    tenant: str


class KeyPolicy(msgspec.Struct, frozen=True):
    """One API key as the hot path sees it. Money in nano-USD; `None` is no limit of its own."""

    id: int
    name: str
    prefix: str
    expires_at: datetime | None
    revoked_at: datetime | None
    requests_per_minute: int | None
    monthly_budget_nano: NanoUSD | None


class Shadow(msgspec.Struct, frozen=True):
    """Limits and routes in shadow: what they would have done is only counted."""

    requests_per_minute: int | None
    concurrency: int | None
    tokens_per_day: int | None
    monthly_budget_nano: NanoUSD | None
    downgrade_percent: int
    routes: dict[Complexity, str]
    rules: ComplexityRules


class Policy(msgspec.Struct, frozen=True):
    """A tenant's limits with its tier's defaults applied. Money in nano-USD; `None` is unlimited."""

    version: PolicyVersion
    tenant_id: int
    slug: str
    tier: str
    suspended: bool
    models: dict[str, CatalogueModel]  # the models it may use, by public name (enabled ones only)
    routes: dict[Complexity, str]
    rules: ComplexityRules
    default_model: str | None
    requests_per_minute: int | None
    user_requests_per_minute: int | None
    concurrency: int | None
    tokens_per_day: int | None
    monthly_budget_nano: NanoUSD | None
    user_monthly_budget_nano: NanoUSD | None
    budget_mode: BudgetMode
    downgrade_percent: int
    alert_percents: tuple[int, ...]
    margin_percent: str  # decimal as text
    timezone: str
    billing_day: int
    disconnect: DisconnectPolicy
    upstream_weight: int = 1
    # Prepaid: the balance after the last top-up, from which alerts count.
    alerts_below_nano: NanoUSD | None = None
    # Cheaper models are preferred from `downgrade_percent` on, until spend is below this percentage.
    downgrade_release_percent: int = 0
    shadow: Shadow | None = None

    @property
    def tried_rules(self) -> ComplexityRules:
        """The rules in force together with those in shadow."""
        return self.shadow.rules if self.shadow else self.rules


class Principal(msgspec.Struct, frozen=True, eq=False, weakref=True):
    """Who calls: a tenant's policy and the key used. Compared by identity: each snapshot is its own principal."""

    policy: Policy
    key: KeyPolicy
