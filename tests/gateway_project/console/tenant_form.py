"""A tenant's page in the console, filled in and sent."""

import pytest
from django.urls import reverse

from tenants.models import Tenant


def form_of(tenant: Tenant, **changes) -> dict[str, object]:
    """What the tenant's page would send."""
    fields = {
        "name": tenant.name,
        "tier": tenant.tier_id,
        "status": tenant.status,
        "budget_mode": tenant.budget_mode,
        "alert_percents": "80,90,100",
        "billing_day": tenant.billing_day,
        "timezone": tenant.timezone,
        "disconnect_policy": tenant.disconnect_policy,
        "models": [model.pk for model in tenant.allowed_models.all()],
        "keys-TOTAL_FORMS": 0,
        "keys-INITIAL_FORMS": 0,
        "memberships-TOTAL_FORMS": 0,
        "memberships-INITIAL_FORMS": 0,
    }
    return fields | changes


def save(client, tenant: Tenant, **changes):
    response = client.post(
        reverse("admin:tenants_tenant_change", args=[tenant.pk]), form_of(tenant, **changes)
    )
    if response.status_code == 200:
        pytest.fail(str(response.context["adminform"].form.errors))
    tenant.refresh_from_db()
    return response
