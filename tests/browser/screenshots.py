"""`make screenshots`: the main pages of a fresh demo, light, dark and on a phone, into docs/images."""

from tests.browser.pages import ADMIN_PAGES, PORTAL_PAGES, addresses, log_in, new_page, running_browser
from tests.stack.conftest import HOME, running_stack

IMAGES = HOME / "docs" / "images"
LARGEST = 250_000  # bytes, so that the repository stays light
LOOKS = {
    "": {"color_scheme": "light", "viewport": {"width": 1360, "height": 860}},
    "-dark": {"color_scheme": "dark", "viewport": {"width": 1360, "height": 860}},
    "-phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}
SHOWN = ("dashboard", "tenants", "tenant", "ledger", "portal", "portal-usage", "portal-keys", "portal-limits")


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with running_stack() as stack, running_browser() as browser:
        for suffix, look in LOOKS.items():
            for pages, path, user in (
                (ADMIN_PAGES, "/admin/login/", "admin"),
                (PORTAL_PAGES, "/portal/login/", "portal"),
            ):
                with new_page(browser, **look) as page:
                    log_in(page, stack.url, path=path, user=user, password=stack.passwords[user])
                    page.goto(
                        stack.url + next(iter(addresses(pages).values()))
                    )  # fonts are there from here on
                    for name, address in addresses(pages).items():
                        if name in SHOWN:
                            page.goto(stack.url + address)
                            page.evaluate("document.fonts.ready")
                            page.screenshot(path=IMAGES / f"{name}{suffix}.png")
    pictures = list(IMAGES.glob("*.png"))
    heavy = [picture.name for picture in pictures if picture.stat().st_size > LARGEST]
    print(
        f"{IMAGES.relative_to(HOME)}: {len(pictures)} pictures" + (f", too large: {heavy}" if heavy else "")
    )


if __name__ == "__main__":
    main()
