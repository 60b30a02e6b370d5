"""`make screenshots`: the main pages of a fresh demo, light, dark and on a phone, into docs/images."""

from tests.browser.pages import ADMIN_PAGES, PORTAL_PAGES, browser_page, log_in
from tests.stack.conftest import HOME, running_stack

IMAGES = HOME / "docs" / "images"
LOOKS = {
    "": {"color_scheme": "light", "viewport": {"width": 1360, "height": 860}},
    "-dark": {"color_scheme": "dark", "viewport": {"width": 1360, "height": 860}},
    "-phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
}
SHOWN = ("dashboard", "tenants", "portal", "portal-usage")


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with running_stack() as stack:
        for suffix, look in LOOKS.items():
            for pages, path, user, password in (
                (ADMIN_PAGES, "/admin/login/", "admin", stack.passwords["admin"]),
                (PORTAL_PAGES, "/portal/login/", "portal", stack.passwords["portal"]),
            ):
                with browser_page(**look) as page:
                    log_in(page, stack.url, path=path, user=user, password=password)
                    for name in SHOWN:
                        if name in pages:
                            page.goto(stack.url + pages[name].format(slug="globex"))
                            page.screenshot(path=IMAGES / f"{name}{suffix}.png")
    print(f"{IMAGES.relative_to(HOME)}: {len(list(IMAGES.glob('*.png')))} pictures")


if __name__ == "__main__":
    main()
