"""The console's frame: its name, colours and navigation."""

from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _page(title: str, icon: str, name: str) -> dict[str, Any]:
    """A sidebar link to a changelist, for people who may view it. `name` is `app_model`."""
    app, model = name.split("_", 1)
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{name}_changelist"),
        "permission": lambda request: request.user.has_perm(f"{app}.view_{model}"),
    }


def _group(title: str, *items: dict[str, Any], collapsible: bool = False) -> dict[str, Any]:
    return {"title": title, "separator": True, "collapsible": collapsible, "items": list(items)}


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar, without pages this person may not see and without groups left empty by that."""
    groups = _groups()
    for group in groups:
        group["items"] = [item for item in group["items"] if item.get("permission", _anyone)(request)]
    return [group for group in groups if group["items"]]


@cache
def page_names() -> dict[str, str]:
    """The sidebar's title for each page, by URL. The page uses it as its own title."""
    return {str(item["link"]): item["title"] for group in _groups() for item in group["items"]}


def _groups() -> list[dict[str, Any]]:
    return [
        {
            "title": "",
            "items": [{"title": "Dashboard", "icon": "space_dashboard", "link": reverse_lazy("admin:index")}],
        },
        _group(
            "Customers",
            _page("Tenants", "apartment", "tenants_tenant"),
            _page("API keys", "key", "tenants_apikey"),
            _page("Tiers", "layers", "tenants_tier"),
            _page("Portal members", "group", "tenants_membership"),
            _page("Invitations", "mail", "tenants_invitation"),
        ),
        _group(
            "Models",
            _page("Catalogue", "deployed_code", "routing_model"),
            _page("Prices", "sell", "billing_modelprice"),
            _page("Complexity rules", "alt_route", "routing_complexityrule"),
            _page("Upstreams", "dns", "routing_upstream"),
        ),
        _group(
            "Usage",
            _page("Ledger", "receipt_long", "billing_usagerecord"),
            _page("Daily usage", "bar_chart", "billing_dailyusage"),
            _page("Usage by tag", "label", "billing_dailytagusage"),
            _page("Refusals", "block", "billing_dailyverdict"),
            _page("Exports", "download", "billing_usageexport"),
        ),
        _group(
            "Money",
            _page("Statements", "description", "billing_statement"),
            _page("Adjustments", "price_change", "billing_adjustment"),
            _page("Prepaid balances", "account_balance_wallet", "billing_prepaidbalance"),
            _page("Budget alerts", "notifications", "billing_budgetalert"),
        ),
        _group(
            "Webhooks",
            _page("Endpoints", "webhook", "billing_webhookendpoint"),
            _page("Deliveries", "outgoing_mail", "billing_webhookdelivery"),
        ),
        _group(
            "Books",
            _page("Reconciliation", "balance", "billing_driftreport"),
            _page("Upstream bills", "request_quote", "billing_upstreamusage"),
            _page("Bill comparison", "dataset", "billing_billcheck"),
            _page("Ledger chain", "link", "billing_ledgerbatch"),
            _page("Ledger archives", "inventory_2", "billing_ledgerarchive"),
            _page("Policy changes", "sync_alt", "tenants_policychange"),
        ),
        _group(
            "People",
            _page("Staff and members", "person", "auth_user"),
            _page("Roles", "shield_person", "auth_group"),
            _page("API tokens", "key", "tenants_operatortoken"),
            _page("Audit trail", "history", "auditlog_logentry"),
        ),
    ]


def _anyone(request: HttpRequest) -> bool:
    return True


def environment(request: HttpRequest) -> list[str] | None:
    """The badge in the header: a warning while calls go to the sandbox, else none."""
    return ["Sandbox upstream", "warning"] if settings.SANDBOX else None


UNFOLD = {
    "SITE_TITLE": "Tenantry",
    "SITE_HEADER": "Tenantry",
    "SITE_SUBHEADER": "AI gateway console",
    "SITE_SYMBOL": "hub",
    "SITE_URL": None,
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "ENVIRONMENT": "gateway_project.console_kit.site.environment",
    "DASHBOARD_CALLBACK": "gateway_project.console.dashboard.dashboard",
    "LOGIN": {"form": "gateway_project.accounts.ConsoleLogin"},
    "ACCOUNT": {
        "navigation": [{"title": "Two-factor authentication", "link": reverse_lazy("second-factor")}]
    },
    "BORDER_RADIUS": "8px",
    "STYLES": [
        lambda request: static("shared/parts.css"),
        lambda request: static("console/console.css"),
    ],
    "SCRIPTS": [lambda request: static("console/labels.js")],
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("favicon.svg")},
    ],
    "COLORS": {
        "primary": {
            "50": "oklch(97.1% .013 190)",
            "100": "oklch(94.4% .034 188)",
            "200": "oklch(89.2% .066 187)",
            "300": "oklch(82.4% .100 187)",
            "400": "oklch(74.6% .118 188)",
            "500": "oklch(64.0% .110 190)",
            "600": "oklch(51.5% .088 193)",
            "700": "oklch(44.6% .076 195)",
            "800": "oklch(38.4% .063 197)",
            "900": "oklch(33.6% .053 199)",
            "950": "oklch(25.2% .042 202)",
        },
    },
    "SIDEBAR": {"show_search": True, "command_search": False, "navigation": navigation},
}
