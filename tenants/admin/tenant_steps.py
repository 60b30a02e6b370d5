"""What is left to do before a new tenant's first call, and what keeps all its calls from being answered."""

from typing import Any

import msgspec
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Subquery, When
from django.http import HttpRequest
from django.urls import reverse

from tenants.models import AllowedModel, Tenant, TierRoute


class NextStep(msgspec.Struct, frozen=True):
    """One thing to do; without a link if this person may not do it."""

    what: str
    why: str
    link: str
    done: bool


def with_steps(tenants: QuerySet[Any]) -> QuerySet[Any]:
    """Annotate what the steps below need, so that a tenant's page needs no further queries."""
    itself = Tenant.objects.filter(pk=OuterRef("pk"))
    people = Q(memberships__isnull=False) | Q(invitations__isnull=False)
    simple = TierRoute.objects.filter(tier__tenants=OuterRef("tenant"), complexity="simple").values("model")
    rank = Case(When(tenant__default_model=F("model"), then=0), When(model__in=simple, then=1), default=2)
    usable = AllowedModel.objects.filter(tenant=OuterRef("pk"), model__enabled=True, model__embeds=False)
    return tenants.annotate(
        has_calls=Exists(itself.filter(daily_usage__isnull=False)),
        has_people=Exists(itself.filter(people)),
        first_model=Subquery(usable.order_by(rank, "model__name").values("model__name")[:1]),
    )


def next_steps(tenant: Any, request: HttpRequest) -> list[NextStep]:
    """The steps in order; empty once there was a call. `tenant` was annotated by `with_steps`."""
    if tenant.has_calls:
        return []
    of_tenant = f"?tenant={tenant.pk}"
    steps = (
        ("tenants.change_tenant", "#id_models", NextStep(
            "Allow models", "Choose which models this tenant can use.", "", tenant.has_models,
        )),
        ("tenants.add_apikey", reverse("admin:tenants_apikey_add") + of_tenant, NextStep(
            "Create an API key", "Shown once. The tenant's app sends it with each request.", "", tenant.key_count > 0,
        )),
        ("tenants.add_invitation", reverse("admin:tenants_invitation_add") + of_tenant, NextStep(
            "Invite someone", "Gives access to the portal: usage, keys and webhooks.", "",
            tenant.has_people,
        )),
    )  # fmt: skip
    return [
        msgspec.structs.replace(step, link=link if request.user.has_perm(permission) else "")
        for permission, link, step in steps
    ]


def first_call(tenant: Any, base: str) -> str:
    """A curl command with a model it may use: its default, else its tier's for simple requests, else any."""
    model = tenant.first_model or "auto"
    return (
        f"curl {base}/v1/messages -H 'x-api-key: tn_…' -H 'content-type: application/json' \\\n"
        f"""  -d '{{"model":"{model}","max_tokens":100,"messages":[{{"role":"user","content":"Hello"}}]}}'"""
    )
