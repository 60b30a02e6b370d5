"""Suspend and resume tenants."""

from collections.abc import Iterable

from tenants.models import Tenant, TenantStatus


def set_status(tenants: Iterable[Tenant], *, status: TenantStatus, reason: str = "") -> int:
    """Set the tenants' status, from their next request on. Returns how many changed.

    They are saved one by one, so that each is in the audit trail.
    """
    changed = 0
    for tenant in tenants:
        if tenant.status != status:
            tenant.status, tenant.change_reason = status, reason
            tenant.save(update_fields=["status", "updated_at"])
            changed += 1
    return changed
