"""What staff do all day, in a real browser."""

import re

import pytest

playwright = pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, expect  # noqa: E402

from tests.browser.pages import chromium, log_in, new_page  # noqa: E402
from tests.stack.conftest import Stack  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.stack,
    pytest.mark.skipif(chromium() is None, reason="no Chromium; install it or name one by CHROMIUM"),
]
ROLES = ("Operator", "Finance", "Support")
PASSWORD = "correct horse battery"
MAKE_STAFF = """
from django.contrib.auth.models import Group, User
for role in {roles!r}:
    user = User.objects.create_user(role.lower(), password={password!r}, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
"""


@pytest.fixture(scope="module")
def colleagues(stack: Stack) -> Stack:
    """Staff with one role each, named by it."""
    made = stack.manage("shell", "-c", MAKE_STAFF.format(roles=ROLES, password=PASSWORD))
    assert made.returncode == 0, made.stderr
    return stack


@pytest.fixture
def admin(browser: Browser, session_of):
    with new_page(
        browser, viewport={"width": 1360, "height": 900}, storage_state=session_of("admin")
    ) as page:
        yield page


def choose(page: Page, stack: Stack, action: str, *names: str) -> None:
    """Tick tenants in the list and run an action on them."""
    page.goto(f"{stack.url}/admin/tenants/tenant/")
    for name in names:
        page.locator("tr", has_text=name).locator("input.action-select").check()
    page.select_option("select[name=action]", action)
    page.click("button[name=index]")


def call(page: Page, stack: Stack, key: str, model: str = "claude-sonnet-4-20250514") -> int:
    return page.request.post(
        f"{stack.url}/v1/messages",
        headers={"x-api-key": key},
        data={"model": model, "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]},
    ).status


def issue_key(page: Page, stack: Stack, tenant: str) -> str:
    page.goto(f"{stack.url}/admin/tenants/tenant/?q={tenant}")
    page.click(f"#result_list a:has-text('{tenant}')")
    page.click("text=Create key")
    page.fill("input[name=name]", "in the browser")
    page.click("button[name=_save]")
    return page.input_value("input[aria-label='API key']")


def test_a_tenant_is_made_given_a_key_that_is_turned_and_suspended(stack: Stack, admin: Page):
    admin.goto(f"{stack.url}/admin/tenants/tenant/add/")
    admin.fill("input[name=name]", "Fresh Fruit")
    admin.click(".field-tier .select2-selection")
    admin.click(".select2-results__option:has-text('pro')")
    admin.click(".field-models .select2-selection")
    admin.keyboard.type("sonnet")
    admin.click(".select2-results__option:has-text('sonnet')")
    admin.click("button[name=_save]")

    key = issue_key(admin, stack, "fresh-fruit")
    assert call(admin, stack, key) == 200
    admin.click("text=I have copied it")
    assert key not in admin.content()

    admin.click("#tabs-items >> text=API keys")
    admin.click("a.c-do:has-text('Rotate')")
    admin.click("button.c-button:has-text('Rotate')")
    newer = admin.input_value("input[aria-label='API key']")
    assert call(admin, stack, key) == call(admin, stack, newer) == 200

    admin.click("text=I have copied it")
    admin.click("#tabs-items >> text=API keys")
    admin.locator("tr", has_text=newer[:11]).locator("a.c-do:has-text('Revoke')").click()
    admin.click("button.c-button:has-text('Revoke')")
    assert (call(admin, stack, key), call(admin, stack, newer)) == (200, 401)

    choose(admin, stack, "suspend", "fresh-fruit")
    expect(admin.locator("form.c-card")).to_contain_text("will be refused immediately")
    admin.fill("input[name=reason]", "Has not paid")
    admin.click("button.c-button:has-text('Suspend')")
    assert call(admin, stack, key) == 403
    choose(admin, stack, "resume", "fresh-fruit")
    assert call(admin, stack, key) == 200

    admin.goto(f"{stack.url}/admin/auditlog/logentry/?q=fresh-fruit")
    expect(admin.locator("#result_list")).to_contain_text("“Has not paid”")


def test_budgets_are_raised_for_a_reason_only(stack: Stack, admin: Page):
    choose(admin, stack, "raise_budget", "hooli")
    admin.fill("input[name=by_usd]", "36")
    admin.click("button.c-button:has-text('Raise budget')")
    expect(admin.locator("form.c-card")).to_be_visible()
    admin.fill("input[name=reason]", "Signed for more")
    admin.click("button.c-button:has-text('Raise budget')")
    expect(admin.locator("#result_list tr", has_text="hooli")).to_contain_text("/ $50.00")


def test_taking_a_model_that_is_used_is_asked_about(stack: Stack, admin: Page):
    admin.goto(f"{stack.url}/admin/tenants/tenant/?q=initech")
    admin.click("#result_list a:has-text('initech')")
    admin.locator(".field-models .select2-selection__choice", has_text="opus").locator(
        ".select2-selection__choice__remove"
    ).click()
    admin.click("button[name=_save]")
    expect(admin.locator("#tenant_form")).to_contain_text("times in the last 7 days")


def test_a_price_is_superseded_never_edited(stack: Stack, admin: Page):
    admin.goto(f"{stack.url}/admin/billing/modelprice/?q=gpt-4o")
    admin.click("#result_list a:has-text('gpt-4o')")
    assert admin.locator("button[name=_save]").count() == 0
    admin.click("text=Supersede")
    admin.fill("input[name=effective_from_0]", "2027-01-01")
    admin.fill("input[name=effective_from_1]", "00:00:00")
    admin.fill("input[name=input_usd]", "2")
    admin.fill("input[name=source]", "next year's list")
    admin.click("button[name=_save]")
    admin.goto(f"{stack.url}/admin/billing/modelprice/?q=gpt-4o")
    admin.click("#result_list a:has-text('gpt-4o') >> nth=0")
    expect(admin.locator(".c-timeline li")).to_have_count(2)
    expect(admin.locator(".c-timeline")).to_contain_text("scheduled, input -20%")


def test_an_adjustment_is_booked_and_stays(stack: Stack, admin: Page):
    admin.goto(f"{stack.url}/admin/billing/adjustment/add/")
    admin.click(".field-tenant .select2-selection")
    admin.keyboard.type("hooli")
    admin.click(".select2-results__option:has-text('hooli')")
    admin.select_option("select[name=kind]", "credit")
    admin.fill("input[name=amount_usd]", "5")
    admin.fill("[name=reason]", "Goodwill")
    admin.click("button[name=_save]")
    expect(admin.locator("#result_list")).to_contain_text("Goodwill")
    admin.locator("#result_list tr", has_text="Goodwill").locator("a").first.click()
    assert admin.locator("button[name=_save]").count() == 0


def test_the_ledger_is_filtered_and_a_row_opens(stack: Stack, admin: Page):
    admin.goto(f"{stack.url}/admin/billing/usagerecord/?status__exact=cancelled")
    rows = admin.locator("#result_list .data-row")
    assert rows.count() > 0
    assert set(re.findall(r"\bOK\b", admin.inner_text("#result_list"))) == set()
    rows.first.locator("a").first.click()
    expect(admin.locator("#content")).to_contain_text("Cancelled")


def test_finance_downloads_an_export(stack: Stack, admin: Page):
    admin.goto(f"{stack.url}/admin/billing/usagerecord/")
    admin.click("text=Export…")
    admin.fill("input[name=tenant]", "hooli")
    with admin.expect_download() as download:
        admin.click("form.c-narrow button.c-button")
    rows = download.value.path().read_text().splitlines()
    admin.goto(f"{stack.url}/admin/billing/usageexport/")
    log = admin.inner_text("#result_list")
    assert rows[0].startswith("request_id,created_at,tenant")
    assert len(rows) > 100
    assert "complete" in log.lower()


def test_the_trail_is_exported(stack: Stack, admin: Page):
    admin.goto(f"{stack.url}/admin/auditlog/logentry/")
    with admin.expect_download() as download:
        admin.click("text=Export as CSV")
    assert download.value.path().read_text().startswith("time,who,from,action,kind,what,field,old,new,reason")


NO_BUTTONS = {
    "Operator": {"/admin/billing/modelprice/": "add/", "/admin/billing/adjustment/": "add/"},
    "Finance": {"/admin/tenants/tenant/": "add/"},
    "Support": {"/admin/tenants/tenant/": "add/", "/admin/billing/usagerecord/": "usageexport/add/"},
}
REFUSED = {
    "Operator": ["/admin/billing/modelprice/add/", "/admin/auth/user/", "/admin/auth/group/"],
    "Finance": ["/admin/tenants/apikey/", "/admin/tenants/tenant/add/", "/admin/auth/user/"],
    "Support": ["/admin/tenants/apikey/", "/admin/billing/modelprice/", "/admin/billing/usageexport/add/"],
}


@pytest.mark.parametrize("role", ROLES)
def test_what_a_role_may_not_do_is_absent_and_refused(colleagues: Stack, browser: Browser, role: str):
    base = colleagues.url
    with new_page(browser) as page:
        log_in(page, base, path="/admin/login/", user=role.lower(), password=PASSWORD)
        links = page.eval_on_selector_all("a", "all => all.map(each => each.getAttribute('href'))")
        for address in REFUSED[role]:
            assert address not in links
            answer = page.goto(base + address)
            assert answer is not None
            assert answer.status == 403
            expect(page.locator("h1")).to_have_text("Not allowed")
        for address, target in NO_BUTTONS[role].items():
            page.goto(base + address)
            assert page.locator(f"a[href*='{target}']").count() == 0
        page.goto(f"{base}/admin/tenants/tenant/3/change/")
        assert page.locator("button[name=_save]").count() == (1 if role == "Operator" else 0)
