"""Every page of the console and the portal in a real browser: none is heavy, and axe finds nothing serious."""

from typing import Literal

import msgspec
import pytest

playwright = pytest.importorskip("playwright")

from axe_playwright_python.sync_playwright import Axe  # noqa: E402
from playwright.sync_api import Browser, Page  # noqa: E402

from tests.browser.icons import spelt_icons  # noqa: E402
from tests.browser.pages import ADMIN_PAGES, PORTAL_PAGES, addresses, chromium, log_in, new_page  # noqa: E402
from tests.stack.conftest import Stack  # noqa: E402

pytestmark = [
    pytest.mark.stack,
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium; install it or name one by CHROMIUM"),
]
LOGINS = {
    "admin": ("/admin/login/", ADMIN_PAGES),
    "portal": ("/portal/login/", PORTAL_PAGES),
}


class Tour(msgspec.Struct):
    """What was met on the way through a login and all pages behind it, each of them in both colour schemes."""

    faults: dict[str, dict[str, list[str]]] = msgspec.field(default_factory=lambda: {"light": {}, "dark": {}})
    weights: dict[str, int] = {}
    spelt: dict[str, list[str]] = {}
    asked: list[str] = []
    errors: list[str] = []


@pytest.fixture(scope="module", params=LOGINS)
def tour(request: pytest.FixtureRequest, stack: Stack, browser: Browser) -> Tour:
    """The first page is loaded with an empty cache, fonts and all; each of the others as one comes to it."""
    who, met, bytes_of = request.param, Tour(), []
    path, pages = LOGINS[who]
    with new_page(browser) as page:
        network = page.context.new_cdp_session(page)
        network.send("Network.enable")
        network.on("Network.loadingFinished", lambda event: bytes_of.append(event["encodedDataLength"]))
        page.on("request", lambda asked: met.asked.append(asked.url))
        page.on("pageerror", lambda error: met.errors.append(str(error)))

        def visit(name: str, address: str, wait_until: Literal["load", "networkidle"] = "load") -> None:
            bytes_of.clear()
            page.emulate_media(color_scheme="light")
            page.goto(stack.url + address, wait_until=wait_until)
            met.weights[name] = sum(bytes_of)
            met.faults["light"][name] = serious(page)
            if letters := spelt_icons(page):
                met.spelt[name] = letters
            page.emulate_media(color_scheme="dark")
            page.goto(stack.url + address)
            met.faults["dark"][name] = serious(page)

        visit(path, path, wait_until="networkidle")
        log_in(page, stack.url, path=path, user=who, password=stack.passwords[who])
        for name, address in addresses(pages).items():
            visit(name, address)
    return met


def serious(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['html'][:160]}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"][:3]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_fault_for_those_who_cannot_see_or_point(tour: Tour, scheme):
    assert {name: found for name, found in tour.faults[scheme].items() if found} == {}


def test_no_icon_is_shown_by_the_letters_of_its_name(tour: Tour):
    assert tour.spelt == {}


def test_pages_weigh_less_than_300_kb(tour: Tour):
    assert {name: weight for name, weight in tour.weights.items() if weight >= 300_000} == {}


def test_nothing_comes_from_elsewhere_and_no_script_fails(tour: Tour, stack: Stack):
    assert [url for url in tour.asked if not url.startswith((stack.url, "data:", "blob:"))] == []
    assert tour.errors == []


@pytest.mark.parametrize("who", LOGINS)
def test_pages_fit_a_phone(stack: Stack, browser: Browser, session_of, who):
    _, pages = LOGINS[who]
    with new_page(browser, viewport={"width": 390, "height": 844}, storage_state=session_of(who)) as page:
        for name, address in addresses(pages).items():
            page.goto(stack.url + address)
            wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wider <= 0, f"{name} is {wider} px wider than a phone"
