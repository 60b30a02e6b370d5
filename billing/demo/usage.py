"""Sixty days of usage for the demo, so that console and portal have something to show.

The two tenants whose keys are printed get none in the current period: what they spend now is what you spend.
"""

from datetime import timedelta
from decimal import Decimal

from django.contrib.auth import get_user_model
from django.db import transaction
from django.utils import timezone

from billing.demo.synthetic_usage import make_usage
from billing.demo.tenants import OPUS, SONNET, TENANTS, DemoTenant
from billing.models import UsageRecord
from routing.models import Model
from tenants.keys import issue_key
from tenants.models import AllowedModel, Membership, Role, Tenant, Tier

DAYS = 60
ROWS = 9_000
NEIGHBOURS = (
    DemoTenant("globex", name="Globex", tier="enterprise", models=(SONNET, OPUS), rpm=600, budget="250"),
    DemoTenant("initech", name="Initech", tier="pro", models=(SONNET, OPUS), rpm=120, budget="80"),
    DemoTenant("umbrella-labs", name="Umbrella Labs", tier="pro", models=(SONNET,), rpm=120, budget="18"),
    DemoTenant("hooli", name="Hooli", tier="free", models=(SONNET,), rpm=30, budget="14"),
)
PORTAL_USER = "portal"


def seed_usage() -> None:
    """Make the usage, once, on an installation that has booked nothing yet."""
    if UsageRecord.objects.exists():
        return
    with transaction.atomic():
        neighbours = [_neighbour(demo) for demo in NEIGHBOURS]
        shown = list(Tenant.objects.filter(slug__in=[demo.slug for demo in TENANTS]))
        now = timezone.now()
        since = now - timedelta(days=DAYS)
        Tenant.objects.filter(pk__in=[each.pk for each in (*neighbours, *shown)]).update(created_at=since)
    make_usage(neighbours, rows=ROWS, since=since, until=now)
    last_period = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if since < last_period - timedelta(days=1):
        make_usage(shown, rows=ROWS // 4, since=since, until=last_period - timedelta(days=1))


def seed_portal(password: str) -> None:
    """Make an account that owns a tenant with usage, for a look at the portal."""
    users = get_user_model().objects
    tenant = Tenant.objects.filter(slug=NEIGHBOURS[0].slug).first()
    if tenant is None or users.filter(username=PORTAL_USER).exists():
        return
    user = users.create_user(PORTAL_USER, password=password)
    Membership.objects.create(tenant=tenant, user=user, role=Role.OWNER)


def _neighbour(demo: DemoTenant) -> Tenant:
    tenant, created = Tenant.objects.get_or_create(
        slug=demo.slug,
        defaults={
            "name": demo.name,
            "tier": Tier.objects.get(name=demo.tier),
            "max_requests_per_minute": demo.rpm,
            "max_tokens_per_day": 2_000_000,
            "monthly_budget_usd": Decimal(demo.budget),
        },
    )
    if created:
        for model in Model.objects.filter(name__in=demo.models):
            AllowedModel.objects.create(tenant=tenant, model=model)
        for name in ("web app", "batch jobs"):
            issue_key(tenant=tenant, name=name)
    return tenant
