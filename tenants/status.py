"""Suspending tenants and letting them work again."""

from collections.abc import Iterable

from tenants.models import Tenant, TenantStatus


def set_status(tenants: Iterable[Tenant], *, status: TenantStatus, reason: str = "") -> int:
    """From their next request on; how many that changed. One by one, so that each is in the audit trail."""
    changed = 0
    for tenant in tenants:
        if tenant.status != status:
            tenant.status, tenant.change_reason = status, reason
            tenant.save(update_fields=["status", "updated_at"])
            changed += 1
    return changed
