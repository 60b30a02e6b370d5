"""The tenant's form: a picker for models, the tier's values beside empty limits, confirmations."""

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.db.models import Sum
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelect2MultipleWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from gateway_project.console_kit import formatters
from gateway_project.console_kit.stale_forms import AsShownForm
from routing.models import Model
from tenants.models import Tenant, TenantStatus, Tier
from tenants.models.limits import release_refusal
from tenants.policy import BudgetMode
from tenants.starting_models import starting_models

INHERITED = (
    "max_requests_per_minute",
    "max_user_requests_per_minute",
    "max_concurrency",
    "max_tokens_per_day",
    "monthly_budget_usd",
    "user_monthly_budget_usd",
    "downgrade_percent",
    "downgrade_release_percent",
    "margin_percent",
)
IN_USE = timedelta(days=7)


class ModelPicker(UnfoldAdminSelect2MultipleWidget):
    """A select box with all models in the page, filtered while one types.

    With Unfold's own class name, Django's autocomplete would take the field over on pages that have others, and ask the
    server for what is in the page already.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.attrs["class"] = "unfold-admin-autocomplete"


class TenantForm(AsShownForm):
    """A tenant. Raising its budget needs a reason. A change that cuts it off right now has to be confirmed."""

    models = forms.ModelMultipleChoiceField(
        Model.objects.order_by("name"),
        required=False,
        widget=ModelPicker,
        label="Allowed models",
        help_text="If empty, no model is allowed and every call is refused.",
    )
    reason = forms.CharField(
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="Required to raise a budget. Recorded in the audit trail.",
    )
    confirmed = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        label="Confirm: refuse requests immediately",
        help_text="Only needed if the change would refuse calls the tenant makes now. You will be asked.",
    )

    class Media:
        js = ("console/tier_models.js",)

    class Meta:
        model = Tenant
        fields = (
            "name", "slug", "tier", "status", "default_model", *INHERITED, "budget_mode", "alert_percents",
            "billing_day", "timezone", "disconnect_policy", "alert_emails", "shadow_tier", "note",
        )  # fmt: skip
        widgets = {
            "alert_percents": UnfoldAdminTextInputWidget,
            "alert_emails": UnfoldAdminTextInputWidget,
            "note": UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance.pk:
            self._offer_models_of_tiers()
            return
        self._allowed = list(self.instance.allowed_models.all())
        self._budget = _budget(self.instance)
        if "models" in self.fields:
            self.fields["models"].initial = self._allowed
        for name in INHERITED:
            if name in self.fields:
                value = _plain(_of_tier(self.instance.tier, name))
                self.fields[name].widget.attrs["placeholder"] = value
                own = getattr(self.instance, name) is not None
                text = (
                    f"Overrides tier {self.instance.tier}: {value}"
                    if own
                    else f"From tier {self.instance.tier}"
                )
                self.fields[name].help_text = text

    def _offer_models_of_tiers(self) -> None:
        """Give the page's script the default models of each tier, which apply to an empty list."""
        tiers = Tier.objects.prefetch_related("default_models")
        names = {tier.pk: [model.name for model in tier.default_models.all()] for tier in tiers}
        field = self.fields["models"]
        field.widget.attrs["data-of-tiers"] = json.dumps(names)
        field.help_text = "If empty, the tenant starts with its tier's default models."

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        if not self.instance.pk and not cleaned.get("models") and cleaned.get("tier"):
            cleaned["models"] = starting_models(tier=cleaned["tier"], chosen=None)
        default, allowed = cleaned.get("default_model"), cleaned.get("models")
        if default and allowed is not None and default not in allowed:
            self.add_error("default_model", "The default model must be one of the allowed models.")
        threshold, tier = cleaned.get("downgrade_percent"), cleaned.get("tier")
        if threshold is None and tier:
            threshold = tier.downgrade_percent
        if problem := release_refusal(release=cleaned.get("downgrade_release_percent"), threshold=threshold):
            self.add_error("downgrade_release_percent", problem)
        return cleaned

    def _post_clean(self) -> None:
        """Ask for a reason or a confirmation, after the instance has got the new values."""
        super()._post_clean()  # type: ignore[misc]  # missing in the stubs
        if not self.instance.pk or self.errors:
            return
        budget = _budget(self.instance)
        raised = self._budget is not None and (budget is None or budget > self._budget)
        if raised and not self.cleaned_data.get("reason"):
            self.add_error("reason", f"Give a reason for raising the budget to {_shown(budget)}.")
        harm = list(self._harm(budget))
        if harm and not self.cleaned_data.get("confirmed"):
            self.add_error("confirmed", [*harm, "To confirm, turn this on and save again."])
        self.instance.change_reason = self.cleaned_data.get("reason", "")

    def _harm(self, budget: Decimal | None) -> Iterator[str]:
        """What the tenant does now and could no longer do."""
        tenant = self.instance
        if "status" in self.changed_data and tenant.status == TenantStatus.SUSPENDED:
            yield "When suspended, all requests are refused immediately."
        spent = getattr(tenant, "spent_usd", Decimal(0))
        fitted = self._budget is None or spent < self._budget
        if tenant.budget_mode == BudgetMode.HARD and budget is not None and fitted and spent >= budget:
            yield f"It has already spent {formatters.short_usd(spent)}, so every request would be refused."
        removed = {model.name for model in self._allowed} - {m.name for m in self.cleaned_data["models"]}
        since = timezone.now().date() - IN_USE
        used = tenant.daily_usage.filter(day__gte=since, model__in=removed).values("model").order_by("model")
        for row in used.annotate(calls=Sum("requests")):
            yield f"{row['model']} was called {formatters.count(row['calls'])} times in the last 7 days."


def _budget(tenant: Tenant) -> Decimal | None:
    own = tenant.monthly_budget_usd
    return tenant.tier.monthly_budget_usd if own is None else own


def _shown(budget: Decimal | None) -> str:
    return "unlimited" if budget is None else formatters.usd(budget)


def _of_tier(tier: Tier, name: str) -> Decimal | int | None:
    if name == "downgrade_release_percent" and tier.downgrade_release_percent is None:
        return max(0, (tier.downgrade_percent or 0) - 10)
    value: Decimal | int | None = getattr(tier, name)
    return value


def _plain(value: Decimal | int | None) -> str:
    if value is None:
        return "unlimited"
    return f"{value.normalize():f}" if isinstance(value, Decimal) else f"{value:,}"
