"""What is left to do until a new tenant's first call, and what keeps every call of it from being answered."""

import msgspec
from django.db.models import Q
from django.http import HttpRequest
from django.urls import reverse

from tenants.models import Tenant


class NextStep(msgspec.Struct, frozen=True):
    """One thing to do; without a link where it is not this person's to do."""

    what: str
    why: str
    link: str
    done: bool


def next_steps(tenant: Tenant, request: HttpRequest) -> list[NextStep]:
    """In order; empty once there was a call."""
    if tenant.daily_usage.exists():
        return []
    of_tenant = f"?tenant={tenant.pk}"
    steps = (
        ("tenants.change_tenant", "#id_models", NextStep(
            "Allow it models", "What it may ask for, and be charged.", "", has_models(tenant),
        )),
        ("tenants.add_apikey", reverse("admin:tenants_apikey_add") + of_tenant, NextStep(
            "Issue a key", "Shown once; the tenant's app sends it.", "", tenant.keys.filter(revoked_at=None).exists(),
        )),
        ("tenants.add_invitation", reverse("admin:tenants_invitation_add") + of_tenant, NextStep(
            "Invite a person", "To the portal: usage, keys and webhooks of its own.", "",
            tenant.memberships.exists() or tenant.invitations.exists(),
        )),
    )  # fmt: skip
    return [
        msgspec.structs.replace(step, link=link if request.user.has_perm(permission) else "")
        for permission, link, step in steps
    ]


def has_models(tenant: Tenant) -> bool:
    """Whether any model is both allowed and switched on: without one, every call is refused."""
    return tenant.allowed_models.filter(enabled=True).exists()


def first_call(tenant: Tenant, base: str) -> str:
    """With a model it may use: its default, else what its tier has for simple requests, else any."""
    usable = tenant.allowed_models.filter(enabled=True, embeds=False).order_by("name")
    preferred = Q(pk=tenant.default_model_id) | Q(
        pk__in=tenant.tier.routes.filter(complexity="simple").values("model")
    )
    model = usable.filter(preferred).first() or usable.first() or "auto"
    return (
        f"curl {base}/v1/messages -H 'x-api-key: tn_…' -H 'content-type: application/json' \\\n"
        f"""  -d '{{"model":"{model}","max_tokens":100,"messages":[{{"role":"user","content":"Hello"}}]}}'"""
    )
