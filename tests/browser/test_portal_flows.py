"""What a tenant's own people do, in a real browser: with scripts, and without."""

import re
from collections.abc import Iterator

import pytest

playwright = pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, expect  # noqa: E402

from gateway_project.portal.urls import tenant as patterns  # noqa: E402
from tests.browser.pages import chromium, log_in, new_page  # noqa: E402
from tests.stack.conftest import Stack  # noqa: E402

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(chromium() is None, reason="no Chromium; install it or name one by CHROMIUM"),
]
PASSWORD = "correct horse battery"


@pytest.fixture
def owner(stack: Stack, browser: Browser, session_of) -> Iterator[Page]:
    """On the overview, as one comes in."""
    with new_page(
        browser, viewport={"width": 1280, "height": 900}, storage_state=session_of("portal")
    ) as page:
        page.goto(of(stack))
        yield page


def of(stack: Stack, path: str = "") -> str:
    return f"{stack.url}/portal/t/globex/{path}"


def test_spend_is_drawn_against_the_budget(stack: Stack, owner: Page):
    expect(owner.locator(".tabs [aria-current]")).to_have_text("Overview")
    expect(owner.locator(".draws canvas")).to_be_visible()
    expect(owner.locator(".u-legend")).to_contain_text("Budget")


def test_usage_is_filtered_in_place_and_kept_in_the_address(stack: Stack, owner: Page):
    owner.goto(of(stack, "usage/"))
    owner.select_option("select[name=show]", "tokens")
    expect(owner.locator(".chart figcaption small")).to_have_text("tokens")
    expect(owner.locator(".draws canvas")).to_be_visible()
    assert "show=tokens" in owner.url
    with owner.expect_download() as download:
        owner.click("text=Download CSV")
    rows = download.value.path().read_text().splitlines()
    assert len(rows) > 100
    assert "hooli" not in rows[1]


def test_older_requests_are_added_below_and_one_has_a_receipt(stack: Stack, owner: Page):
    owner.goto(of(stack, "requests/"))
    expect(owner.locator("#rows tr")).to_have_count(50)
    owner.click("text=Show older")
    expect(owner.locator("#rows tr")).to_have_count(100)
    owner.select_option("select[name=status]", "cancelled")
    expect(owner.locator("#rows tr .tag").first).to_have_text("Cancelled")
    owner.click("#rows a >> nth=0")
    expect(owner.locator("dl")).to_contain_text("Served by")


def test_a_key_is_rotated_and_revoked_after_a_question(stack: Stack, owner: Page):
    owner.goto(of(stack, "keys/"))
    owner.fill("input[name=name]", "to be turned")
    owner.keyboard.press("Enter")
    owner.click("text=I have copied it")
    row = owner.locator("tr", has_text="to be turned")
    row.get_by_role("button", name="Rotate", exact=True).click()
    owner.get_by_role("button", name="Rotate to be turned").click()
    newer = owner.input_value("input.secret")
    owner.click("text=I have copied it")
    row = owner.locator("tr", has_text=newer[:11])
    row.get_by_role("button", name="Revoke", exact=True).click()
    owner.get_by_role("button", name="Revoke to be turned").click()
    expect(owner.locator("tr", has_text=newer[:11]).locator(".tag")).to_have_text("revoked")


def test_a_developer_issues_a_key_by_keyboard_and_calls_with_it(stack: Stack, owner: Page):
    owner.goto(of(stack, "keys/"))
    owner.focus("input[name=name]")
    owner.keyboard.type("from the browser")
    owner.keyboard.press("Enter")
    key = owner.input_value("input.secret")
    answer = owner.request.post(
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


def test_a_webhook_is_added_tested_and_its_log_fills_by_itself(stack: Stack, owner: Page):
    owner.goto(of(stack, "webhooks/"))
    owner.fill("input[name=url]", "https://192.0.2.1/hook")
    owner.click("text=Add webhook")
    if owner.locator("input.secret").count() == 0:  # addresses for documentation may be refused as private
        owner.fill("input[name=url]", "https://93.184.216.34/hook")
        owner.click("text=Add webhook")
    assert owner.input_value("input.secret").startswith("whsec_")
    owner.click("text=I have copied it")
    owner.get_by_role("button", name="Send test").click()
    expect(owner.locator("#log")).to_contain_text("webhook.test")
    owner.locator("#log a").first.click()
    expect(owner.locator("pre")).to_contain_text("webhook.test")
    owner.goto(of(stack, "webhooks/"))
    owner.get_by_role("button", name="Remove", exact=True).click()
    owner.get_by_role("button", name="Remove webhook").click()
    expect(owner.locator(".message")).to_contain_text("removed")


def test_snippets_are_filled_and_copied(stack: Stack, owner: Page):
    owner.context.grant_permissions(["clipboard-read", "clipboard-write"])
    owner.goto(of(stack, "quickstart/"))
    for language in ("curl", "python", "typescript"):
        owner.click(f"[data-copies={language}]")
        expect(owner.locator(f"[data-copies={language}]")).to_have_text("Copied")
        assert stack.url in owner.evaluate("navigator.clipboard.readText()")


def test_an_invited_viewer_joins_by_the_link_and_has_no_buttons(
    stack: Stack, owner: Page, browser: Browser, session_of
):
    owner.goto(of(stack, "people/"))
    owner.fill("input[name=email]", "vera@example.com")
    owner.select_option("select[name=role]", "viewer")
    owner.get_by_role("button", name="Invite").click()
    expect(owner.locator(".message")).to_contain_text("ask your provider for the link")
    assert "/portal/join/" not in owner.content()
    with new_page(browser, storage_state=session_of("admin")) as staff:
        staff.goto(f"{stack.url}/admin/tenants/invitation/")
        staff.get_by_role("link", name="vera@example.com").click()
        staff.get_by_role("link", name="New link").click()
        staff.get_by_role("button", name="New link").click()
        link = staff.input_value(".c-copy input")
    viewer = browser.new_context().new_page()
    viewer.goto(link)
    viewer.fill("input[name=password]", PASSWORD)
    viewer.click("button.wide")
    expect(viewer.locator("h1")).to_have_text("Overview")
    assert "Keys" not in viewer.inner_text(".tabs")
    for path, status in (("keys/", 403), ("webhooks/", 200), ("people/", 200), ("usage/", 200)):
        answer = viewer.goto(of(stack, path))
        assert answer is not None
        assert answer.status == status
        buttons = viewer.locator("main button").all_inner_texts()
        assert not {"Create key", "Add webhook", "Invite", "Remove"} & set(buttons)
    viewer.goto(link)
    expect(viewer.locator("h1")).to_have_text("This invitation is not valid")


def test_another_tenants_pages_are_not_found(stack: Stack, owner: Page):
    for pattern in patterns:
        route = re.sub(r"<uuid:\w+>", "0198f000-0000-7000-8000-000000000000", str(pattern.pattern))
        route = re.sub(r"<int:\w+>", "1", route)
        for method in ("GET", "POST"):
            answer = owner.request.fetch(f"{stack.url}/portal/t/hooli/{route}", method=method)
            assert answer.status in (403, 404, 405), f"{method} {route}"  # 403: a POST without its token
            assert "Hooli" not in answer.text()


def test_every_page_works_without_scripts(stack: Stack, browser: Browser):
    with new_page(browser, java_script_enabled=False) as page:
        log_in(page, stack.url, path="/portal/login/", user="portal", password=stack.passwords["portal"])
        page.goto(of(stack, "requests/"))
        page.click("text=Show older")
        assert "before=" in page.url
        page.goto(of(stack, "usage/"))
        page.select_option("select[name=show]", "calls")
        page.click("text=Apply")
        assert "show=calls" in page.url
        page.goto(of(stack, "keys/"))
        page.fill("input[name=name]", "without scripts")
        page.click("text=Create key")
        assert page.input_value("input.secret").startswith("tn_")
        page.click("text=I have copied it")
        page.locator("tr", has_text="without scripts").get_by_role(
            "button", name="Revoke", exact=True
        ).click()
        page.get_by_role("button", name="Revoke without scripts").click()
        expect(page.locator("tr", has_text="without scripts").locator(".tag")).to_have_text("revoked")
