"""Dates and times can be read and picked: their icons are icons."""

import pytest

playwright = pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page, expect  # noqa: E402

from tests.browser.icons import spelt_icons  # noqa: E402
from tests.browser.pages import chromium, new_page  # noqa: E402
from tests.stack.conftest import Stack  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.stack,
    pytest.mark.skipif(chromium() is None, reason="no Chromium; install it or name one by CHROMIUM"),
]
LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1360, "height": 860}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1360, "height": 860}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}


@pytest.fixture(params=LOOKS)
def page(request: pytest.FixtureRequest, browser: Browser, session_of):
    with new_page(browser, **LOOKS[request.param], storage_state=session_of("admin")) as shown:
        yield shown


@pytest.mark.parametrize(
    "address",
    ["/admin/billing/modelprice/add/", "/admin/billing/adjustment/add/", "/admin/tenants/apikey/add/"],
)
def test_the_icon_beside_a_date_leaves_room_for_it(stack: Stack, page: Page, address):
    page.goto(stack.url + address)
    page.evaluate("document.fonts.ready")

    for icon in page.locator(".date-icon, .clock-icon").all():
        box = icon.bounding_box()
        assert box
        assert box["width"] <= 60, f"{icon.get_attribute('class')} is {box['width']} px wide"
    assert page.locator(".date-icon").count() >= 1
    assert spelt_icons(page) == []


def test_a_day_is_picked_from_a_calendar_that_can_be_turned(stack: Stack, page: Page):
    page.goto(f"{stack.url}/admin/billing/modelprice/add/")
    page.locator(".date-icon").first.click()

    month = page.locator(".calendarbox caption").first
    expect(month).to_be_visible()
    before = month.inner_text()
    page.locator(".calendarnav-next").first.click()
    expect(month).not_to_have_text(before)
    assert spelt_icons(page) == []

    page.locator(".calendarbox td a", has_text="15").first.click()
    assert page.input_value("input[name=effective_from_0]").endswith("-15")


def test_the_finder_of_spelt_icons_finds_one(stack: Stack, page: Page):
    page.goto(f"{stack.url}/admin/")
    page.evaluate(
        """() => document.body.insertAdjacentHTML(
            "beforeend", "<i class='material-symbols-outlined'>no_such_icon</i>")"""
    )

    assert spelt_icons(page) == ["no_such_icon"]
