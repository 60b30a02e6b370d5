"""The console and the portal in a real browser: they work, by keyboard too, and axe finds nothing serious."""

import re

import pytest

playwright = pytest.importorskip("playwright")

from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from playwright.sync_api import Page  # noqa: E402

from tests.browser.pages import ADMIN_PAGES, PORTAL_PAGES, addresses, browser_page, chromium, log_in  # noqa: E402
from tests.stack.conftest import Stack  # noqa: E402

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(chromium() is None, reason="no Chromium; install it or name one by CHROMIUM"),
]
LOGINS = {
    "admin": ("/admin/login/", ADMIN_PAGES),
    "portal": ("/portal/login/", PORTAL_PAGES),
}


def serious(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:160]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"][:3]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("who", LOGINS)
def test_no_page_has_a_serious_fault_for_those_who_cannot_see_or_point(stack: Stack, who, scheme):
    path, pages = LOGINS[who]
    faults = {}
    with browser_page(color_scheme=scheme) as page:
        page.goto(stack.url + path)
        faults[path] = serious(page)
        log_in(page, stack.url, path=path, user=who, password=stack.passwords[who])
        for name, address in addresses(pages).items():
            page.goto(stack.url + address)
            faults[name] = serious(page)
    assert {name: found for name, found in faults.items() if found} == {}


@pytest.mark.parametrize("who", LOGINS)
def test_pages_fit_a_phone(stack: Stack, who):
    path, pages = LOGINS[who]
    with browser_page(viewport={"width": 390, "height": 844}) as page:
        log_in(page, stack.url, path=path, user=who, password=stack.passwords[who])
        for name, address in addresses(pages).items():
            page.goto(stack.url + address)
            wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wider <= 0, f"{name} is {wider} px wider than a phone"


@pytest.mark.parametrize("who", LOGINS)
def test_pages_weigh_less_than_300_kb(stack: Stack, who):
    """The first one with an empty cache, fonts and all; each of the others as one comes to it."""
    path, pages = LOGINS[who]
    weights, bytes_of = {}, []
    with browser_page() as page:
        network = page.context.new_cdp_session(page)
        network.send("Network.enable")
        network.on("Network.loadingFinished", lambda event: bytes_of.append(event["encodedDataLength"]))
        page.goto(stack.url + path, wait_until="networkidle")
        weights[path] = sum(bytes_of)
        log_in(page, stack.url, path=path, user=who, password=stack.passwords[who])
        for name, address in addresses(pages).items():
            bytes_of.clear()
            page.goto(stack.url + address, wait_until="load")
            weights[name] = sum(bytes_of)
    assert {name: weight for name, weight in weights.items() if weight >= 300_000} == {}


def test_nothing_comes_from_elsewhere_and_no_script_fails(stack: Stack):
    asked, errors = [], []
    with browser_page() as page:
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        for who, (path, pages) in LOGINS.items():
            page.context.clear_cookies()
            log_in(page, stack.url, path=path, user=who, password=stack.passwords[who])
            for address in addresses(pages).values():
                page.goto(stack.url + address)
    assert [url for url in asked if not url.startswith((stack.url, "data:", "blob:"))] == []
    assert errors == []


def test_a_developer_issues_a_key_by_keyboard_and_calls_with_it(stack: Stack):
    with browser_page() as page:
        log_in(page, stack.url, path="/portal/login/", user="portal", password=stack.passwords["portal"])
        page.goto(f"{stack.url}/portal/t/globex/keys/")
        page.focus("input[name=name]")
        page.keyboard.type("from the browser")
        page.keyboard.press("Enter")
        key = page.input_value("input.secret")
        answer = page.request.post(
            f"{stack.url}/v1/messages",
            headers={"x-api-key": key, "anthropic-version": "2023-06-01"},
            data={
                "model": "claude-sonnet-4-20250514",
                "max_tokens": 16,
                "messages": [{"role": "user", "content": "hi"}],
            },
        )
    assert re.fullmatch(r"tn_[\w-]{43}", key)
    assert answer.status == 200


def test_finance_downloads_an_export_from_the_console(stack: Stack):
    with browser_page() as page:
        log_in(page, stack.url, path="/admin/login/", user="admin", password=stack.passwords["admin"])
        page.goto(f"{stack.url}/admin/billing/usagerecord/")
        page.click("text=Export…")
        page.fill("input[name=tenant]", "hooli")
        with page.expect_download() as download:
            page.click("form.c-narrow button.c-button")
        text = download.value.path().read_text()
        page.goto(f"{stack.url}/admin/billing/usageexport/")
        log = page.inner_text("#result_list")
    rows = text.splitlines()
    assert rows[0].startswith("request_id,created_at,tenant")
    assert len(rows) > 100
    assert "complete" in log.lower()
