"""Tenants, tiers, keys and people."""

from tenants.models.allowed_model import AllowedModel
from tenants.models.api_key import ApiKey
from tenants.models.email_count import EmailCount
from tenants.models.invitation import Invitation
from tenants.models.membership import Membership, Role
from tenants.models.operator_token import OperatorToken
from tenants.models.policy_change import PolicyChange
from tenants.models.second_factor import SecondFactor
from tenants.models.tenant import Tenant, TenantStatus
from tenants.models.tier import Tier
from tenants.models.tier_downgrade import TierDowngrade
from tenants.models.tier_route import TierRoute
from tenants.models.verified_email import VerifiedEmail

__all__ = [
    "AllowedModel",
    "ApiKey",
    "EmailCount",
    "Invitation",
    "Membership",
    "OperatorToken",
    "PolicyChange",
    "Role",
    "SecondFactor",
    "Tenant",
    "TenantStatus",
    "Tier",
    "TierDowngrade",
    "TierRoute",
    "VerifiedEmail",
]
