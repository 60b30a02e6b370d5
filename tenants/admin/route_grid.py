"""One page with the routing tables of all tiers: tier by complexity."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from gateway_project.console_kit.stale_forms import AsShown
from routing.choice import Complexity
from routing.models import Model
from tenants.models import Tier, TierRoute

PERMISSIONS = ("add_tierroute", "change_tierroute", "delete_tierroute")


class GridForm(AsShown, forms.Form):
    """One model for each tier and complexity; empty if the tier has none."""

    def __init__(self, *args: Any, editable: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tiers = list(Tier.objects.prefetch_related("routes__model").order_by("name"))
        models = list(Model.objects.order_by("name"))
        choices = [("", "none"), *((str(model.pk), model.name) for model in models)]
        for tier in self.tiers:
            routes = {route.complexity: route.model_id for route in tier.routes.all()}
            for complexity in Complexity:
                self.fields[_cell(tier, complexity)] = forms.ChoiceField(
                    choices=choices,
                    required=False,
                    disabled=not editable,
                    initial=str(routes.get(complexity.value, "")),
                    label=f"{tier.name}, {complexity.value}",
                    widget=forms.Select(
                        attrs={"class": "c-select", "aria-label": f"{tier.name}, {complexity.value}"}
                    ),
                )

    def rows(self) -> Iterator[tuple[Tier, list[Any]]]:
        for tier in self.tiers:
            yield tier, [self[_cell(tier, complexity)] for complexity in Complexity]

    @transaction.atomic
    def save(self) -> int:
        """Save each change on its own, so that the audit trail has it. Returns how many."""
        changed = 0
        for tier in self.tiers:
            for complexity in Complexity:
                name = _cell(tier, complexity)
                if name in self.changed_data:
                    _set(tier, complexity, self.cleaned_data[name])
                    changed += 1
        return changed


def grid_page(page: admin.ModelAdmin, request: HttpRequest) -> HttpResponse:
    """The page, for everyone who may view tiers; editable for those who may change routes."""
    editable = all(request.user.has_perm(f"tenants.{name}") for name in PERMISSIONS)
    form = GridForm(request.POST or None, editable=editable)
    if request.method == "POST":
        if not editable:
            raise PermissionDenied
        if form.is_valid():
            changed = form.save()
            messages.success(request, f"{changed} routes changed. They take effect immediately.")
            return redirect(request.path)
    context = {
        **page.admin_site.each_context(request),
        "opts": page.opts,
        "title": "Routing table: how “auto” chooses",
        "form": form,
        "complexities": [complexity.value for complexity in Complexity],
        "editable": editable,
    }
    return TemplateResponse(request, "admin/route_grid.html", context)


def _cell(tier: Tier, complexity: Complexity) -> str:
    return f"{tier.pk}-{complexity.value}"


def _set(tier: Tier, complexity: Complexity, model_id: str) -> None:
    route = TierRoute.objects.filter(tier=tier, complexity=complexity.value).first()
    if not model_id:
        if route is not None:
            route.delete()
        return
    route = route or TierRoute(tier=tier, complexity=complexity.value)
    route.model_id = int(model_id)
    route.save()
