"""Book what changes a bill or a budget besides usage: credits, corrections, grants, top-ups."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce

from billing.meter.current_spend import counter_of, current_spend
from billing.models import Adjustment, AdjustmentKind
from gateway_project.ground.errors import TenantryError
from gateway_project.ground.one_by_one import one_by_one
from tenants.models import Tenant
from tenants.policy import BudgetMode


class AlreadyBooked(TenantryError):
    """The reference is already booked, with another amount."""

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
    """Book an adjustment in USD. It counts from the tenant's next request on.

    A reference is booked once: with the same amount again, the earlier booking is returned. Raises AlreadyBooked for
    another amount.
    """
    with transaction.atomic():
        tenant = Tenant.objects.select_for_update(of=("self",)).select_related("tier").get(pk=tenant.pk)
        if reference:
            known = Adjustment.objects.filter(tenant=tenant, kind=kind, reference=reference).first()
            if known is not None:
                if known.amount_usd == amount_usd:
                    return known
                raise AlreadyBooked(f"{reference} is already booked, with {known.amount_usd} USD.")
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
        keep_figures(tenant, topped_up=kind == AdjustmentKind.TOPUP)
    return row


def keep_figures(tenant: Tenant, *, now: datetime | None = None, topped_up: bool = False) -> bool:
    """Update the tenant's row with the sums of its bookings. Returns whether that changed its policy.

    `topped_up`: alerts start again, from the balance as it is now.
    """
    moment = now or datetime.now(UTC)
    grants = Adjustment.objects.filter(tenant=tenant, kind=AdjustmentKind.GRANT, expires_at__gt=moment)
    granted = grants.aggregate(usd=Sum("amount_usd"))["usd"] or Decimal(0)
    prepaid = sum((balance_change(row) for row in balance_rows(tenant)), Decimal(0))
    if (tenant.granted_usd, tenant.topped_up_usd) == (granted, prepaid):
        return False
    if topped_up:
        tenant.topped_up_to_usd = prepaid - _spent(tenant)
    tenant.granted_usd, tenant.topped_up_usd = granted, prepaid
    tenant.save(update_fields=["granted_usd", "topped_up_usd", "topped_up_to_usd", "updated_at"])
    return True


def balance_rows(tenant: Tenant) -> list[Adjustment]:
    """The bookings that move a prepaid balance, oldest first: from the first top-up on, all but grants.

    What came before the first top-up was billed otherwise.
    """
    rows = list(Adjustment.objects.filter(tenant=tenant).exclude(kind=AdjustmentKind.GRANT).order_by("pk"))
    first = next((n for n, row in enumerate(rows) if row.kind == AdjustmentKind.TOPUP), len(rows))
    return rows[first:]


def balance_change(row: Adjustment) -> Decimal:
    """What the booking adds to a prepaid balance, in USD. The first top-up also covers the usage before it."""
    if row.kind == AdjustmentKind.TOPUP:
        return row.amount_usd + Decimal(row.details.get("spent_before_usd", 0))
    return -row.charge_usd


def end_grants(*, now: datetime | None = None) -> int:
    """Take back expired grants. Returns for how many tenants. It looks at all, so it catches up after an outage.

    Raises SomeFailed if a tenant's grants could not be taken back; the others' are.
    """
    moment = now or datetime.now(UTC)
    active = Coalesce(
        Sum(
            "adjustments__amount_usd",
            filter=Q(adjustments__kind=AdjustmentKind.GRANT, adjustments__expires_at__gt=moment),
        ),
        Decimal(0),
    )
    stale = Tenant.objects.filter(granted_usd__gt=0).annotate(active=active).exclude(active=F("granted_usd"))

    def end(tenant: Tenant) -> int:
        with transaction.atomic():
            locked = Tenant.objects.select_for_update(of=("self",)).select_related("tier").get(pk=tenant.pk)
            return keep_figures(locked, now=moment)

    return one_by_one(stale, end, what="ending grants")


def _note_what_was_spent_before(row: Adjustment) -> None:
    """Note in a first top-up what was spent before it: that was billed otherwise, and must not reduce the balance."""
    if Adjustment.objects.filter(tenant=row.tenant, kind=AdjustmentKind.TOPUP).exists():
        return
    if spent := _spent(row.tenant):
        row.details["spent_before_usd"] = str(spent)


def _spent(tenant: Tenant) -> Decimal:
    """All the tenant ever spent in USD, as its prepaid counter has it or would have it."""
    mode, tenant.budget_mode = tenant.budget_mode, BudgetMode.PREPAID.value
    try:
        return current_spend([tenant])[tenant.pk]
    finally:
        tenant.budget_mode = mode
