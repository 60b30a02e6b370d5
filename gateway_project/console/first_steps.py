"""What the dashboard shows before the first call."""

import msgspec
from django.conf import settings
from django.urls import reverse

from billing.models import ModelPrice, PeriodUsage
from tenants.models import ApiKey, Membership, Tenant, Tier


class FirstStep(msgspec.Struct, frozen=True):
    """One thing to do before the first call."""

    what: str
    why: str
    link: str
    done: bool


def first_steps() -> list[FirstStep]:
    """The steps in order; empty once there was a call."""
    if PeriodUsage.objects.exists():
        return []
    tenant = Tenant.objects.filter(deleted_at=None).first()
    tenants = reverse("admin:tenants_tenant_add")
    its_page = reverse("admin:tenants_tenant_change", args=[tenant.pk]) if tenant else tenants
    return [
        FirstStep(
            "Connect EzAI",
            "Restart Tenantry with EZAI_API_KEY set. Until then, a sandbox responds and calls cost nothing.",
            reverse("admin:routing_model_changelist"),
            not settings.SANDBOX,
        ),
        FirstStep(
            "Review models and prices",
            "Calls are charged at these prices plus your margin.",
            reverse("admin:billing_modelprice_changelist"),
            ModelPrice.objects.exists(),
        ),
        FirstStep(
            "Review the tiers",
            "The limits a tenant starts with, and which models serve “auto”.",
            reverse("admin:tenants_tier_changelist"),
            Tier.objects.exists(),
        ),
        FirstStep(
            "Add your first tenant",
            "A customer with its tier, budget and allowed models.",
            tenants,
            tenant is not None,
        ),
        FirstStep(
            "Create an API key",
            "Shown once, on the tenant's page.",
            its_page,
            ApiKey.objects.exists(),
        ),
        FirstStep(
            "Invite its owner to the portal",
            "Owners see their usage, create keys and set up webhooks themselves.",
            reverse("admin:tenants_invitation_add"),
            Membership.objects.exists(),
        ),
    ]


def first_call(base: str) -> str:
    return (
        f"curl {base}/v1/messages -H 'x-api-key: tn_…' -H 'content-type: application/json' \\\n"
        """  -d '{"model":"auto","max_tokens":100,"messages":[{"role":"user","content":"Hello"}]}'"""
    )
