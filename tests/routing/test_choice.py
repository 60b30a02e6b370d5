"""Routes and their text, which headers, receipts and the ledger have had from the start."""

import pytest

from routing.choice import (
    AUTOMATIC,
    DEFAULT,
    REQUESTED,
    Change,
    Chosen,
    Complexity,
    read_route,
    route_of,
)


@pytest.mark.parametrize(
    ("route", "text"),
    [
        (REQUESTED, "requested"),
        (DEFAULT, "default"),
        (AUTOMATIC[Complexity.SIMPLE], "auto:simple"),
        (AUTOMATIC[Complexity.COMPLEX], "auto:complex"),
        (REQUESTED.then(Change.DOWNGRADED), "requested+downgraded"),
        (REQUESTED.then(Change.CLAMPED), "requested+clamped"),
        (DEFAULT.then(Change.FALLBACK), "default+fallback"),
        (
            AUTOMATIC[Complexity.SIMPLE].then(Change.DOWNGRADED).then(Change.CLAMPED).then(Change.FALLBACK),
            "auto:simple+downgraded+clamped+fallback",
        ),
    ],
)
def test_a_route_is_written_as_it_always_was_and_read_back_the_same(route, text):
    assert route.text == text
    assert read_route(text) == route


@pytest.mark.parametrize("text", ["", "auto", "auto:", "requested+", "requested+made up", "+clamped"])
def test_a_text_that_is_no_route_is_read_as_none(text):
    assert read_route(text) is None


def test_only_a_model_that_was_not_named_was_chosen_by_complexity():
    found = {chosen: chosen.complexity for chosen in Chosen}

    assert found == {
        Chosen.REQUESTED: None,
        Chosen.DEFAULT: None,
        Chosen.AUTO_SIMPLE: Complexity.SIMPLE,
        Chosen.AUTO_COMPLEX: Complexity.COMPLEX,
    }


def test_the_longest_route_fits_its_column():
    longest = route_of(Chosen.AUTO_COMPLEX, *Change)

    assert len(longest.text) <= 100
