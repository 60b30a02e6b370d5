"""Who may call, on which terms."""

from tenants.models.allowed_model import AllowedModel
from tenants.models.api_key import ApiKey
from tenants.models.invitation import Invitation
from tenants.models.membership import Membership, Role
from tenants.models.policy_change import PolicyChange
from tenants.models.tenant import Tenant, TenantStatus
from tenants.models.tier import Tier
from tenants.models.tier_downgrade import TierDowngrade
from tenants.models.tier_route import TierRoute

__all__ = [
    "AllowedModel",
    "ApiKey",
    "Invitation",
    "Membership",
    "PolicyChange",
    "Role",
    "Tenant",
    "TenantStatus",
    "Tier",
    "TierDowngrade",
    "TierRoute",
]
