"""A real browser on a running installation, and the pages people look at most."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

ADMIN_PAGES = {
    "dashboard": "/admin/",
    "tenants": "/admin/tenants/tenant/",
    "tenant": "/admin/tenants/tenant/{tenant}/change/",
    "tenant-keys": "/admin/tenants/tenant/{tenant}/change/#keys",
    "tenant-add": "/admin/tenants/tenant/add/",
    "keys": "/admin/tenants/apikey/",
    "key-add": "/admin/tenants/apikey/add/",
    "tiers": "/admin/tenants/tier/",
    "tier": "/admin/tenants/tier/1/change/",
    "members": "/admin/tenants/membership/",
    "invitations": "/admin/tenants/invitation/",
    "invitation-add": "/admin/tenants/invitation/add/",
    "catalogue": "/admin/routing/model/",
    "model": "/admin/routing/model/1/change/",
    "prices": "/admin/billing/modelprice/",
    "price": "/admin/billing/modelprice/1/change/",
    "complexity": "/admin/routing/complexityrule/",
    "upstreams": "/admin/routing/upstream/add/",
    "ledger": "/admin/billing/usagerecord/",
    "daily": "/admin/billing/dailyusage/",
    "exports": "/admin/billing/usageexport/",
    "export": "/admin/billing/usageexport/add/",
    "statements": "/admin/billing/statement/",
    "adjustments": "/admin/billing/adjustment/",
    "adjustment-add": "/admin/billing/adjustment/add/",
    "alerts": "/admin/billing/budgetalert/",
    "webhooks": "/admin/billing/webhookendpoint/",
    "webhook-add": "/admin/billing/webhookendpoint/add/",
    "deliveries": "/admin/billing/webhookdelivery/",
    "reconciliation": "/admin/billing/driftreport/",
    "people": "/admin/auth/user/",
    "roles": "/admin/auth/group/",
    "role": "/admin/auth/group/1/change/",
    "trail": "/admin/auditlog/logentry/",
}
PORTAL_PAGES = {
    "portal": "/portal/t/{slug}/",
    "portal-usage": "/portal/t/{slug}/usage/",
    "portal-requests": "/portal/t/{slug}/requests/",
    "portal-limits": "/portal/t/{slug}/limits/",
    "portal-keys": "/portal/t/{slug}/keys/",
    "portal-webhooks": "/portal/t/{slug}/webhooks/",
    "portal-statements": "/portal/t/{slug}/statements/",
    "portal-people": "/portal/t/{slug}/people/",
    "portal-quickstart": "/portal/t/{slug}/quickstart/",
}


SHOWN_TENANT, SHOWN_ID = "globex", 3


def chromium() -> str | None:
    """Debian's Chromium, or whatever CHROMIUM names."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


def addresses(pages: dict[str, str]) -> dict[str, str]:
    """With the demo's tenant that has usage: the one its portal user owns."""
    return {name: path.format(slug=SHOWN_TENANT, tenant=SHOWN_ID) for name, path in pages.items()}


@contextmanager
def running_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def new_page(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page without memory of others. Options are those of Playwright's `new_page`."""
    page = browser.new_page(**options)
    try:
        yield page
    finally:
        page.context.close()


def log_in(page: Page, base: str, *, path: str, user: str, password: str) -> None:
    page.goto(f"{base}{path}")
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", password)
    page.click("form button.wide, form button[type=submit]")
    page.wait_for_load_state()
