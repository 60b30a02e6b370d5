"""The gateway's decisions as a tenant sees them: when cheaper models serve, what that saved, what was refused."""

from datetime import date, timedelta
from typing import Any

from billing.ledger import refusal_counts
from billing.meter import downgrades
from tenants.models import Tenant

DAYS = 30


def decisions(tenant: Tenant, *, today: date) -> dict[str, Any]:
    """Template values for `portal/decisions.html`."""
    refused = refusal_counts.sums(tenant.pk, since=today - timedelta(days=DAYS))
    return {
        "downgrade": downgrades.state_of(tenant),
        "saved": downgrades.saved_by_period(tenant.pk, most=3),
        "refused": [each for each in refused if not each.shadow],
        "days": DAYS,
    }
