"""Valid objects for tests; a test states only what matters to it."""

import hashlib
import secrets
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import factory
from django.contrib.auth import get_user_model
from django.utils import timezone
from factory.django import DjangoModelFactory

from billing.models import (
    Adjustment,
    BillCheck,
    BudgetAlert,
    DailyTagUsage,
    DailyUsage,
    DailyVerdict,
    DriftReport,
    LedgerArchive,
    LedgerBatch,
    ModelPrice,
    PrepaidBalance,
    Statement,
    UpstreamUsage,
    UsageExport,
    UsageRecord,
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
)
from gateway_project.ground.secrets import encrypt
from routing.models import ComplexityRule, Model, Upstream
from tenants.models import (
    AllowedModel,
    ApiKey,
    Invitation,
    Membership,
    OperatorToken,
    PolicyChange,
    SecondFactor,
    Tenant,
    Tier,
    TierRoute,
)


def request_id_at(moment: datetime) -> uuid.UUID:
    """A UUIDv7 that carries `moment` (to the millisecond)."""
    milliseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    number = (milliseconds << 80) | secrets.randbits(80)
    number = (number & ~(0xF << 76)) | (0x7 << 76)
    return uuid.UUID(int=(number & ~(0x3 << 62)) | (0x2 << 62))


def time_of(request_id: uuid.UUID) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=request_id.int >> 80)


class UserFactory(DjangoModelFactory):
    class Meta:
        model = get_user_model()
        skip_postgeneration_save = True

    username = factory.Sequence("user{}".format)
    email = factory.LazyAttribute(lambda user: f"{user.username}@example.com")
    password = "!"  # none: tests log in by force, hashing takes a tenth of a second


class StaffFactory(UserFactory):
    is_staff = True
    is_superuser = True


class SecondFactorFactory(DjangoModelFactory):
    """Set up: logging in asks for its codes."""

    class Meta:
        model = SecondFactor

    user = factory.SubFactory(UserFactory)
    name = "Authenticator app"
    confirmed = True
    secret = factory.LazyFunction(lambda: encrypt(secrets.token_hex(20)))


class OperatorTokenFactory(DjangoModelFactory):
    class Meta:
        model = OperatorToken

    user = factory.SubFactory(StaffFactory)
    prefix = "tnop_test"
    digest = factory.LazyFunction(lambda: secrets.token_hex(32))


class ModelFactory(DjangoModelFactory):
    class Meta:
        model = Model

    name = factory.Sequence("model-{}".format)
    upstream_name = factory.SelfAttribute("name")
    family = "claude"


class ComplexityRuleFactory(DjangoModelFactory):
    class Meta:
        model = ComplexityRule

    kind = "keyword"
    subject = factory.Sequence("keyword {}".format)


class ModelPriceFactory(DjangoModelFactory):
    class Meta:
        model = ModelPrice

    model = factory.SubFactory(ModelFactory)
    effective_from = datetime(2024, 1, 1, tzinfo=UTC)
    input_usd = Decimal(3)
    output_usd = Decimal(15)
    cache_read_usd = Decimal("0.3")
    cache_write_5m_usd = Decimal("3.75")
    cache_write_1h_usd = Decimal(6)
    web_search_usd = Decimal(10)
    source = "test"


class TierFactory(DjangoModelFactory):
    class Meta:
        model = Tier

    name = factory.Sequence("tier-{}".format)


class TierRouteFactory(DjangoModelFactory):
    class Meta:
        model = TierRoute

    tier = factory.SubFactory(TierFactory)
    complexity = "simple"
    model = factory.SubFactory(ModelFactory)


class TenantFactory(DjangoModelFactory):
    """`TenantFactory(models=[...])` allows these models; without, none is allowed."""

    class Meta:
        model = Tenant
        skip_postgeneration_save = True

    slug = factory.Sequence("tenant-{}".format)
    name = factory.LazyAttribute(lambda tenant: tenant.slug.replace("-", " ").title())
    tier = factory.SubFactory(TierFactory)

    @factory.post_generation
    def models(self: Any, create: bool, extracted: list[Model] | None, **kwargs: Any) -> None:
        for model in extracted or ():
            AllowedModel.objects.create(tenant=self, model=model)


class ApiKeyFactory(DjangoModelFactory):
    """`plain` is the whole key, kept on the object as `plain` for the test to call with."""

    class Meta:
        model = ApiKey

    plain = factory.LazyFunction(lambda: "tn_" + secrets.token_urlsafe(32))
    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence("key {}".format)
    prefix = factory.LazyAttribute(lambda key: key.plain[:11])
    digest = factory.LazyAttribute(lambda key: hashlib.sha256(key.plain.encode()).hexdigest())

    @classmethod
    def _create(cls, model_class: type[ApiKey], *args: Any, plain: str, **kwargs: Any) -> ApiKey:
        key = super()._create(model_class, *args, **kwargs)
        key.plain = plain
        return key


class MembershipFactory(DjangoModelFactory):
    class Meta:
        model = Membership

    tenant = factory.SubFactory(TenantFactory)
    user = factory.SubFactory(UserFactory)


class InvitationFactory(DjangoModelFactory):
    class Meta:
        model = Invitation

    tenant = factory.SubFactory(TenantFactory)
    email = factory.Sequence("guest{}@example.com".format)
    digest = factory.LazyFunction(lambda: secrets.token_hex(32))
    expires_at = factory.LazyFunction(lambda: timezone.now() + timedelta(days=7))


class PolicyChangeFactory(DjangoModelFactory):
    class Meta:
        model = PolicyChange

    tenant = factory.SubFactory(TenantFactory)
    source = "tenants_tenant"


class UsageRecordFactory(DjangoModelFactory):
    """`UsageRecordFactory(at=moment)` books a call of that moment; day and period are UTC's."""

    class Meta:
        model = UsageRecord

    class Params:
        at = factory.LazyFunction(timezone.now)

    request_id = factory.LazyAttribute(lambda row: request_id_at(row.at))
    created_at = factory.LazyAttribute(lambda row: time_of(row.request_id))
    day = factory.LazyAttribute(lambda row: row.created_at.date())
    period_start = factory.LazyAttribute(lambda row: row.day.replace(day=1))
    tenant = factory.SubFactory(TenantFactory)
    api_key = factory.SubFactory(ApiKeyFactory, tenant=factory.SelfAttribute("..tenant"))
    wire = "anthropic"
    model_requested = factory.SelfAttribute("model")
    model = "claude-sonnet-4-20250514"
    route = "requested"
    stream = False
    status = "ok"
    http_status = 200
    input_tokens = 1000
    output_tokens = 50
    cost_usd = Decimal("0.003750")
    upstream_cost_usd = factory.SelfAttribute("cost_usd")
    estimated = False
    latency_ms = 800


class DailyUsageFactory(DjangoModelFactory):
    class Meta:
        model = DailyUsage

    tenant = factory.SubFactory(TenantFactory)
    day = factory.LazyFunction(lambda: timezone.now().date())
    period_start = factory.LazyAttribute(lambda row: row.day.replace(day=1))
    model = "claude-sonnet-4-20250514"
    status = "ok"
    requests = 10
    input_tokens = 10_000
    output_tokens = 500
    cost_usd = Decimal("0.0375")
    upstream_cost_usd = factory.SelfAttribute("cost_usd")


class DailyTagUsageFactory(DjangoModelFactory):
    class Meta:
        model = DailyTagUsage

    tenant = factory.SubFactory(TenantFactory)
    day = factory.LazyFunction(lambda: timezone.now().date())
    name = "feature"
    value = factory.Sequence("value-{}".format)
    model = "claude-sonnet-4-20250514"
    requests = 3
    tokens = 3_150
    cost_usd = Decimal("0.011250")


class DailyVerdictFactory(DjangoModelFactory):
    class Meta:
        model = DailyVerdict

    tenant = factory.SubFactory(TenantFactory)
    day = factory.LazyFunction(lambda: timezone.now().date())
    code = "rate_limited"
    requests = 3


class BudgetAlertFactory(DjangoModelFactory):
    class Meta:
        model = BudgetAlert

    tenant = factory.SubFactory(TenantFactory)
    period_start = factory.LazyFunction(lambda: timezone.now().date().replace(day=1))
    threshold = 80
    budget_usd = Decimal(100)
    spent_usd = Decimal(80)
    crossed_at = factory.LazyFunction(timezone.now)


class WebhookEndpointFactory(DjangoModelFactory):
    class Meta:
        model = WebhookEndpoint

    tenant = factory.SubFactory(TenantFactory)
    url = factory.Sequence("https://hooks{}.example.com/tenantry".format)
    secret = "whsec_" + "dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0"


class WebhookDeliveryFactory(DjangoModelFactory):
    class Meta:
        model = WebhookDelivery

    endpoint = factory.SubFactory(WebhookEndpointFactory)
    event_id = factory.LazyFunction(lambda: f"msg_{secrets.token_hex(12)}")
    event_type = "budget.threshold_reached"
    payload = factory.LazyFunction(lambda: {"type": "budget.threshold_reached", "data": {"threshold": 80}})
    next_attempt_at = factory.LazyFunction(timezone.now)


class WebhookAttemptFactory(DjangoModelFactory):
    class Meta:
        model = WebhookAttempt

    delivery = factory.SubFactory(WebhookDeliveryFactory)
    number = 1
    attempted_at = factory.LazyFunction(timezone.now)
    duration_ms = 120
    http_status = 500


class StatementFactory(DjangoModelFactory):
    class Meta:
        model = Statement

    tenant = factory.SubFactory(TenantFactory)
    starts_at = datetime(2026, 1, 1, tzinfo=UTC)
    ends_at = datetime(2026, 2, 1, tzinfo=UTC)
    period_start = factory.LazyAttribute(lambda statement: statement.starts_at.date())
    period_end = factory.LazyAttribute(lambda statement: statement.ends_at.date())
    timezone = "UTC"
    budget_mode = "hard"
    usage_usd = Decimal(10)
    upstream_cost_usd = Decimal(10)
    total_usd = Decimal(10)
    recorded_until = factory.SelfAttribute("ends_at")


class AdjustmentFactory(DjangoModelFactory):
    class Meta:
        model = Adjustment

    tenant = factory.SubFactory(TenantFactory)
    kind = "credit"
    amount_usd = Decimal(10)
    reason = "A test"
    period_start = factory.LazyFunction(lambda: timezone.now().date().replace(day=1))


class PrepaidBalanceFactory(TenantFactory):
    class Meta:
        model = PrepaidBalance
        skip_postgeneration_save = True

    budget_mode = "prepaid"


class UsageExportFactory(DjangoModelFactory):
    class Meta:
        model = UsageExport

    created_by = factory.SubFactory(StaffFactory)
    status = "complete"
    rows = 3


class BillCheckFactory(DjangoModelFactory):
    class Meta:
        model = BillCheck

    day = factory.LazyFunction(lambda: timezone.now().date())
    model = factory.Sequence("model-{}".format)
    billed_usd = Decimal(12)
    booked_usd = Decimal(11)
    ok = False
    checked_at = factory.LazyFunction(timezone.now)


class UpstreamUsageFactory(DjangoModelFactory):
    class Meta:
        model = UpstreamUsage

    day = factory.LazyFunction(lambda: timezone.now().date())
    model = factory.Sequence("model-{}".format)
    cost_usd = Decimal(12)
    source = "bill.csv"


class DriftReportFactory(DjangoModelFactory):
    class Meta:
        model = DriftReport

    tenant = factory.SubFactory(TenantFactory)
    ok = True
    ledger_usd = Decimal(10)
    rollup_usd = Decimal(10)
    redis_usd = Decimal(10)


class LedgerArchiveFactory(DjangoModelFactory):
    class Meta:
        model = LedgerArchive

    month = factory.Sequence(
        lambda number: datetime(2000 + number // 12, number % 12 + 1, 1, tzinfo=UTC).date()
    )
    file = "/archive/usage.csv.gz"
    rows = 3
    cost_usd = Decimal(12)
    digest = factory.LazyFunction(lambda: secrets.token_hex(32))
    file_digest = factory.LazyFunction(lambda: secrets.token_hex(32))


class LedgerBatchFactory(DjangoModelFactory):
    class Meta:
        model = LedgerBatch

    shard = 0
    number = factory.Sequence(int)
    previous_hash = "0" * 64
    hash = factory.LazyFunction(lambda: secrets.token_hex(32))
    rows = 1


class UpstreamFactory(DjangoModelFactory):
    class Meta:
        model = Upstream

    name = factory.Sequence(lambda number: f"upstream-{number}")
    base_url = "https://upstream.example"
    api_key = "secret"
