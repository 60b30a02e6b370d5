"""The console's pages for customers and people."""

from tenants.admin import accounts, api_key, audit, invitation, membership, policy_change, tenant, tier

__all__ = ["accounts", "api_key", "audit", "invitation", "membership", "policy_change", "tenant", "tier"]
