"""A box and pages about decisions for a tenant: what would happen, a simulated tier, refusals, savings."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from billing.ledger import refusal_counts
from billing.meter import downgrades
from billing.what_if.past_usage import terms_for, what_if
from billing.what_if.simulation import SimulationOutcome
from gateway_project.console.dry_run import ask_of, what_would_happen
from gateway_project.console_kit import formatters
from gateway_project.ground.errors import TenantryError
from gateway_project.ground.money import to_usd
from routing.candidates import AUTO
from tenants.models import Tenant, Tier

DAYS = 30
# They take a page about two seconds; `manage.py replay` takes more calls.
MOST_CALLS = 100_000


class RequestForm(forms.Form):
    """A request as staff would describe it."""

    model = forms.ChoiceField(required=False, widget=UnfoldAdminSelectWidget)
    prompt_tokens = forms.IntegerField(
        min_value=1, max_value=10_000_000, initial=1000, widget=UnfoldAdminIntegerFieldWidget
    )
    max_tokens = forms.IntegerField(
        min_value=1, max_value=10_000_000, initial=1000, widget=UnfoldAdminIntegerFieldWidget
    )
    messages = forms.IntegerField(min_value=1, initial=1, widget=UnfoldAdminIntegerFieldWidget)
    tools = forms.IntegerField(min_value=0, initial=0, widget=UnfoldAdminIntegerFieldWidget)
    system = forms.CharField(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        label="System prompt",
        help_text="Searched for keywords.",
    )
    end_user = forms.CharField(required=False, max_length=200, widget=UnfoldAdminTextInputWidget)
    no_downgrade = forms.BooleanField(
        required=False, widget=UnfoldBooleanSwitchWidget, label="Refuse cheaper models"
    )

    def __init__(self, *args: Any, tenant: Tenant, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = tenant.allowed_models.order_by("name").values_list("name", flat=True)
        choices = [
            ("", "None (default model)"),
            (AUTO, "auto (by complexity)"),
            *((name, name) for name in names),
        ]
        self.fields["model"].choices = choices  # type: ignore[attr-defined]  # it is a ChoiceField


class SimulatedTierForm(forms.Form):
    tier = forms.ModelChoiceField(
        Tier.objects.order_by("name"),
        to_field_name="name",
        empty_label=None,
        widget=UnfoldAdminSelectWidget,
    )


def decisions_of(tenant: Tenant) -> dict[str, Any]:
    """Template values for the box on the tenant's page."""
    since = timezone.now().date() - timedelta(days=DAYS - 1)
    sums = refusal_counts.sums(tenant.pk, since=since)
    saved = downgrades.saved_between(tenant.pk, since=since)
    return {
        "days": DAYS,
        "refused": [(each.code, formatters.count(each.requests)) for each in sums if not each.shadow],
        "in_shadow": [
            (f"{each.code} {each.detail}".strip(), formatters.count(each.requests))
            for each in sums
            if each.shadow
        ],
        "saved": _saved(saved) if saved.requests else None,
        "form": RequestForm(tenant=tenant),
        "tier_form": SimulatedTierForm(initial={"tier": tenant.tier.name}),
    }


def _saved(saved: downgrades.Saved) -> dict[str, str]:
    return {
        "requests": formatters.count(saved.requests),
        "asked": formatters.short_usd(saved.would_have_cost_usd),
        "paid": formatters.short_usd(saved.paid_usd),
        "saved": formatters.short_usd(saved.saved_usd),
    }


def decisions_box(request: HttpRequest, tenant_id: int) -> HttpResponse:
    """The box, which the tenant's page fetches after it has loaded."""
    tenant = _tenant(request, tenant_id)
    context = {"tenant": tenant, "decisions": decisions_of(tenant)}
    return TemplateResponse(request, "admin/tenant_decisions.html", context)


def decision_page(request: HttpRequest, tenant_id: int) -> HttpResponse:
    """What would happen to a request that the form describes."""
    tenant = _tenant(request, tenant_id)
    given = {
        name: field.initial for name, field in RequestForm.base_fields.items() if field.initial is not None
    }
    form = RequestForm({**given, **request.GET.dict()}, tenant=tenant)
    decision: dict[str, Any] | None = None
    if form.is_valid():
        values = dict(form.cleaned_data)
        declines = values.pop("no_downgrade")
        try:
            decision = what_would_happen(tenant, ask_of(**values), may_downgrade=not declines)
        except TenantryError as error:
            decision = {"would_refuse": [error.code], "refusal": {"message": error.message}, "candidates": []}
    context = {"form": form, "decision": decision, "tenant": tenant}
    return _page(request, "admin/what_would_happen.html", f"What would happen: {tenant.name}", context)


def simulation_page(request: HttpRequest, tenant_id: int) -> HttpResponse:
    """The last thirty days under another tier."""
    tenant = _tenant(request, tenant_id)
    form = SimulatedTierForm(request.GET or None, initial={"tier": tenant.tier.name})
    context: dict[str, Any] = {"tenant": tenant, "form": form}
    if form.is_valid():
        tier = form.cleaned_data["tier"]
        until = timezone.now()
        since = until - timedelta(days=DAYS)
        terms = terms_for(tenant, tier=tier)
        found = what_if(tenant, terms, since=since, until=until, most_rows=MOST_CALLS)
        refused_then = sum(
            each.requests for each in refusal_counts.sums(tenant.pk, since=since.date()) if not each.shadow
        )
        context |= {
            "tier": tier,
            "outcome": _shown(found),
            "refused_then": formatters.count(refused_then),
            "days": DAYS,
        }
    return _page(request, "admin/simulate_tier.html", f"Simulate a tier: {tenant.name}", context)


def _shown(found: SimulationOutcome) -> dict[str, Any]:
    def usd(nano: int) -> str:
        return formatters.usd(to_usd(nano))

    moves = sorted(found.moves.values(), key=lambda each: -each.calls)[:20]
    return {
        "calls": formatters.count(found.calls),
        "left_out": formatters.count(found.left_out) if found.left_out else "",
        "played_from": found.played_from,
        "recorded": usd(found.recorded_nano),
        "would": usd(found.would_nano),
        "difference": ("+" if found.difference_nano > 0 else "") + usd(found.difference_nano),
        "refused": [(code, formatters.count(calls)) for code, calls in sorted(found.refused.items())],
        "refused_calls": formatters.count(found.refused_calls),
        "refused_usd": usd(found.refused_nano),
        "downgraded": formatters.count(found.downgraded),
        "would_downgrade": formatters.count(found.would_downgrade),
        "moves": [
            (
                move.served_by,
                move.would_be,
                formatters.count(move.calls),
                usd(move.recorded_nano),
                usd(move.would_nano),
            )
            for move in moves
        ],
    }


def _tenant(request: HttpRequest, tenant_id: int) -> Tenant:
    if not (
        request.user.has_perm("tenants.view_tenant") and request.user.has_perm("billing.view_dailyusage")
    ):
        raise PermissionDenied
    related = Tenant.objects.select_related("tier__shadow_tier", "shadow_tier", "default_model")
    return get_object_or_404(related, pk=tenant_id)


def _page(request: HttpRequest, template: str, title: str, context: dict[str, Any]) -> HttpResponse:
    each = {**admin.site.each_context(request), "title": title, "opts": Tenant._meta}
    return TemplateResponse(request, template, {**each, **context})
