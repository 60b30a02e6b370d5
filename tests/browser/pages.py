"""A real browser on a running installation, and the pages people look at most."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, sync_playwright

ADMIN_PAGES = {
    "dashboard": "/admin/",
    "tenants": "/admin/tenants/tenant/",
    "prices": "/admin/billing/modelprice/",
    "ledger": "/admin/billing/usagerecord/",
    "export": "/admin/billing/usageexport/add/",
    "catalogue": "/admin/routing/model/",
    "upstreams": "/admin/routing/upstream/add/",
}
PORTAL_PAGES = {
    "portal": "/portal/t/{slug}/",
    "portal-usage": "/portal/t/{slug}/usage/?since=2020-01-01",
    "portal-requests": "/portal/t/{slug}/requests/",
    "portal-limits": "/portal/t/{slug}/limits/",
    "portal-keys": "/portal/t/{slug}/keys/",
    "portal-webhooks": "/portal/t/{slug}/webhooks/",
    "portal-statements": "/portal/t/{slug}/statements/",
    "portal-people": "/portal/t/{slug}/people/",
    "portal-quickstart": "/portal/t/{slug}/quickstart/",
}


def chromium() -> str | None:
    """Debian's Chromium, or whatever CHROMIUM names."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def browser_page(**options: Any) -> Iterator[Page]:
    """A page without memory of others. Options are those of Playwright's `new_page`."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            yield browser.new_page(**options)
        finally:
            browser.close()


def log_in(page: Page, base: str, *, path: str, user: str, password: str) -> None:
    page.goto(f"{base}{path}")
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", password)
    page.click("form button.wide, form button[type=submit]")
    page.wait_for_load_state()
