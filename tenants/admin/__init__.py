"""Staff's pages of the customers and of the people."""

from tenants.admin import accounts, api_key, audit, invitation, membership, policy_change, tenant, tier

__all__ = ["accounts", "api_key", "audit", "invitation", "membership", "policy_change", "tenant", "tier"]
