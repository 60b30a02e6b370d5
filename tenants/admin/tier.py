"""Tiers: default limits and the routing table."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.admin import TabularInline
from unfold.decorators import action, display

from gateway_project.console_kit import formatters
from gateway_project.console_kit.pages import ConsolePage
from gateway_project.console_kit.stale_forms import AsShownForm
from routing.choice import Complexity
from tenants.admin.route_grid import grid_page
from tenants.models import Tier, TierDowngrade, TierRoute
from tenants.models.limits import release_refusal


class RouteInline(TabularInline):
    model = TierRoute
    fields = ("complexity", "model")
    autocomplete_fields = ("model",)
    extra = 0
    max_num = len(Complexity)
    verbose_name_plural = "routing table: how “auto” chooses"

    def get_queryset(self, request: HttpRequest) -> QuerySet[TierRoute]:
        return super().get_queryset(request).select_related("model", "tier")


class DowngradeInline(TabularInline):
    model = TierDowngrade
    fields = ("model", "target")
    autocomplete_fields = ("model", "target")
    extra = 0
    verbose_name_plural = "downgrades: where they differ from the catalogue"

    def get_queryset(self, request: HttpRequest) -> QuerySet[TierDowngrade]:
        return super().get_queryset(request).select_related("model", "target", "tier")


class TierForm(AsShownForm):
    def shown(self) -> dict[str, Any]:
        """The form's values, and those that the tables below it would overwrite."""
        tables = {
            "routes": self.instance.routes.order_by("pk").values_list("pk", "complexity", "model_id"),
            "downgrades": self.instance.downgrades.order_by("pk").values_list("pk", "model_id", "target_id"),
        }
        return super().shown() | {name: list(rows) for name, rows in tables.items()}

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or {}
        release, threshold = cleaned.get("downgrade_release_percent"), cleaned.get("downgrade_percent")
        if problem := release_refusal(release=release, threshold=threshold):
            self.add_error("downgrade_release_percent", problem)
        return cleaned


@admin.register(Tier)
class TierAdmin(ConsolePage):
    form = TierForm
    list_display = (
        "name", "per_minute", "per_day", "budget", "margin_percent", "simple", "complex", "tenant_count",
    )  # fmt: skip
    search_fields = ("name", "description")
    autocomplete_fields = ("default_models", "shadow_tier")
    readonly_fields = ("created_at", "updated_at")
    inlines = (RouteInline, DowngradeInline)
    actions_list = ("routes",)
    fieldsets = (
        (None, {"fields": (("name", "description"), "default_models")}),
        (
            "Limits",
            {
                "description": "Apply to all tenants of this tier that do not set their own. Empty means unlimited.",
                "fields": (
                    ("max_requests_per_minute", "max_user_requests_per_minute"),
                    ("max_concurrency", "max_tokens_per_day"),
                ),
            },
        ),
        (
            "Money",
            {
                "fields": (
                    ("monthly_budget_usd", "user_monthly_budget_usd"),
                    ("downgrade_percent", "downgrade_release_percent"),
                    "margin_percent",
                )
            },
        ),
        ("Shadow mode", {"fields": ("shadow_tier",)}),
        ("Dates", {"fields": (("created_at", "updated_at"),)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tier]:
        routes = Prefetch("routes", TierRoute.objects.select_related("model"))
        live = Count("tenants", filter=Q(tenants__deleted_at=None))
        return super().get_queryset(request).annotate(tenant_count=live).prefetch_related(routes)

    def get_readonly_fields(self, request: HttpRequest, obj: Tier | None = None) -> Any:
        """The name is fixed, since the API refers to the tier by it."""
        return (*self.readonly_fields, "name") if obj else self.readonly_fields

    @action(description="Routing table", icon="dataset", url_path="routes", permissions=["view"])
    def routes(self, request: HttpRequest) -> HttpResponse:
        return grid_page(self, request)

    @display(description="Requests/min", ordering="max_requests_per_minute")
    def per_minute(self, tier: Tier) -> str:
        return _limit(tier.max_requests_per_minute)

    @display(description="Tokens/day", ordering="max_tokens_per_day")
    def per_day(self, tier: Tier) -> str:
        return _limit(tier.max_tokens_per_day)

    @display(description="Monthly budget", ordering="monthly_budget_usd")
    def budget(self, tier: Tier) -> str:
        return "unlimited" if tier.monthly_budget_usd is None else formatters.usd(tier.monthly_budget_usd)

    @display(description="auto, simple")
    def simple(self, tier: Tier) -> str:
        return _route(tier, Complexity.SIMPLE)

    @display(description="auto, complex")
    def complex(self, tier: Tier) -> str:
        return _route(tier, Complexity.COMPLEX)

    @display(description="Tenants", ordering="tenant_count")
    def tenant_count(self, tier: Any) -> int:
        return tier.tenant_count


def _limit(number: int | None) -> str:
    return "unlimited" if number is None else formatters.count(number)


def _route(tier: Tier, complexity: Complexity) -> str:
    """The model of a route, from the prefetched ones, so that the grid takes one query."""
    return next(
        (route.model.name for route in tier.routes.all() if route.complexity == complexity),
        formatters.NOTHING,
    )
