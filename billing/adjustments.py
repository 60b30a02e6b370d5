"""Booking what changes a bill or a budget beside usage: credits, corrections, grants, top-ups."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce

from billing.models import Adjustment, AdjustmentKind
from billing.spend import counter_of, current_spend
from gateway_project.errors import TenantryError
from tenants.models import Tenant
from tenants.policy import BudgetMode


class AlreadyBooked(TenantryError):
    """The reference is known, with another amount."""

    code = "already_booked"
    status = 409


def book(
    *,
    tenant: Tenant,
    kind: str,
    amount_usd: Decimal,
    reason: str,
    reference: str = "",
    expires_at: datetime | None = None,
    period_start: date | None = None,
    by: User | None = None,
    details: dict[str, Any] | None = None,
) -> Adjustment:
    """Book it and let it count from the tenant's next request on. USD.

    A reference is booked once: the same one with the same amount answers what was booked before; raises
    AlreadyBooked for another amount.
    """
    with transaction.atomic():
        tenant = Tenant.objects.select_for_update(of=("self",)).select_related("tier").get(pk=tenant.pk)
        if reference:
            known = Adjustment.objects.filter(tenant=tenant, kind=kind, reference=reference).first()
            if known is not None:
                if known.amount_usd == amount_usd:
                    return known
                raise AlreadyBooked(f"{reference} is booked already, with {known.amount_usd} USD.")
        row = Adjustment(
            tenant=tenant,
            kind=kind,
            amount_usd=amount_usd,
            reason=reason,
            reference=reference,
            expires_at=expires_at,
            period_start=period_start or date.fromisoformat(counter_of(tenant)[1]),
            created_by=by,
            details=details or {},
        )
        if kind == AdjustmentKind.TOPUP:
            _note_what_was_spent_before(row)
        row.save()
        keep_figures(tenant)
    return row


def keep_figures(tenant: Tenant, *, now: datetime | None = None) -> bool:
    """Put into the tenant's row what its bookings come to; whether that changed its policy."""
    moment = now or datetime.now(UTC)
    rows = Adjustment.objects.filter(tenant=tenant)
    grants = rows.filter(kind=AdjustmentKind.GRANT, expires_at__gt=moment)
    topups = list(rows.filter(kind=AdjustmentKind.TOPUP))
    granted = grants.aggregate(usd=Sum("amount_usd"))["usd"] or Decimal(0)
    topped_up = sum((each.amount_usd for each in topups), Decimal(0))
    topped_up += sum((Decimal(each.details.get("spent_before_usd", 0)) for each in topups), Decimal(0))
    if (tenant.granted_usd, tenant.topped_up_usd) == (granted, topped_up):
        return False
    if topped_up != tenant.topped_up_usd:
        tenant.topped_up_to_usd = topped_up - _spent(tenant)
    tenant.granted_usd, tenant.topped_up_usd = granted, topped_up
    tenant.save(update_fields=["granted_usd", "topped_up_usd", "topped_up_to_usd", "updated_at"])
    return True


def end_grants(*, now: datetime | None = None) -> int:
    """Take back grants whose time has come; of how many tenants. Looks at all, so an outage heals."""
    moment = now or datetime.now(UTC)
    active = Coalesce(
        Sum(
            "adjustments__amount_usd",
            filter=Q(adjustments__kind=AdjustmentKind.GRANT, adjustments__expires_at__gt=moment),
        ),
        Decimal(0),
    )
    stale = Tenant.objects.filter(granted_usd__gt=0).annotate(active=active).exclude(active=F("granted_usd"))
    ended = 0
    for tenant in stale:
        with transaction.atomic():
            locked = Tenant.objects.select_for_update(of=("self",)).select_related("tier").get(pk=tenant.pk)
            ended += keep_figures(locked, now=moment)
    return ended


def _note_what_was_spent_before(row: Adjustment) -> None:
    """What a tenant used before its first top-up was billed otherwise and takes nothing off the balance."""
    if Adjustment.objects.filter(tenant=row.tenant, kind=AdjustmentKind.TOPUP).exists():
        return
    if spent := _spent(row.tenant):
        row.details["spent_before_usd"] = str(spent)


def _spent(tenant: Tenant) -> Decimal:
    """All it ever spent, as its prepaid counter has or would have it."""
    mode, tenant.budget_mode = tenant.budget_mode, BudgetMode.PREPAID.value
    try:
        return current_spend([tenant])[tenant.pk]
    finally:
        tenant.budget_mode = mode
