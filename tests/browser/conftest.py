from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.stack.conftest import Stack


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for a file's tests: its start takes as long as many a test."""
    from tests.browser.pages import running_browser

    with running_browser() as running:
        yield running


@pytest.fixture(scope="module")
def session_of(browser: Any, stack: Stack) -> Callable[[str], Any]:
    """`new_page(browser, storage_state=session_of("admin"))` is logged in, by one login for all: hashing is slow."""
    from tests.browser.pages import log_in, new_page

    kept: dict[str, Any] = {}

    def session(who: str) -> Any:
        if who not in kept:
            with new_page(browser) as page:
                log_in(page, stack.url, path=f"/{who}/login/", user=who, password=stack.passwords[who])
                kept[who] = page.context.storage_state()
        return kept[who]

    return session
