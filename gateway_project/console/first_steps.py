"""What an installation without tenants shows on its dashboard."""

from django.urls import reverse

from billing.models import ModelPrice
from tenants.models import Tenant, Tier


def first_steps() -> list[tuple[str, str, bool]]:
    """What is to be done before the first call: what, where, whether it is; empty once there is a tenant."""
    if Tenant.objects.exists():
        return []
    return [
        (
            "Check the models and their prices",
            reverse("admin:billing_modelprice_changelist"),
            ModelPrice.objects.exists(),
        ),
        (
            "Look at the tiers: the limits a tenant starts with",
            reverse("admin:tenants_tier_changelist"),
            Tier.objects.exists(),
        ),
        ("Make your first tenant and allow it some models", reverse("admin:tenants_tenant_add"), False),
        ("Issue it a key: shown once, on the tenant's page", reverse("admin:tenants_apikey_add"), False),
    ]
