"""The models and fields of the audit trail, which keeps who changed which row when, old → new.

Ledger, roll-ups and deliveries are not among them: no person changes those.
"""

AUDITED_MODELS = (
    {"model": "tenants.Tenant", "exclude_fields": ["updated_at"]},
    "tenants.AllowedModel",
    {"model": "tenants.ApiKey", "exclude_fields": ["digest", "last_used_at"]},
    {"model": "tenants.Tier", "exclude_fields": ["updated_at"], "m2m_fields": {"default_models"}},
    "tenants.TierRoute",
    "tenants.TierDowngrade",
    "tenants.Membership",
    {"model": "tenants.Invitation", "exclude_fields": ["digest"]},
    {"model": "tenants.OperatorToken", "include_fields": ["user", "prefix"]},
    {"model": "tenants.SecondFactor", "include_fields": ["user", "confirmed"]},
    {"model": "tenants.VerifiedEmail", "include_fields": ["user", "email"]},
    {"model": "routing.Model", "exclude_fields": ["updated_at"]},
    "routing.ComplexityRule",
    "billing.ModelPrice",
    {"model": "billing.Adjustment", "exclude_fields": ["statement"]},
    {
        "model": "billing.WebhookEndpoint",
        "include_fields": ["tenant", "url", "description", "events", "enabled", "disabled_reason"],
    },
    {
        "model": "auth.User",
        "exclude_fields": ["password", "last_login"],
        "m2m_fields": {"groups", "user_permissions"},
    },
    {"model": "auth.Group", "m2m_fields": {"permissions"}},
)
