"""The box of decisions, for the tenant's page: which knows nothing of billing."""

from typing import Any

from django import template

from gateway_project.console.tenant_decisions import decisions_of
from tenants.models import Tenant

register = template.Library()


@register.inclusion_tag("admin/tenant_decisions.html")
def tenant_decisions(tenant: Tenant) -> dict[str, Any]:
    return {"tenant": tenant, "decisions": decisions_of(tenant)}
