"""Reading the environment: typed, and a refusal names the variable and what it may be."""

from decimal import Decimal
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from gateway_project.ground import env


@pytest.fixture
def given(monkeypatch):
    """`given("12")` sets the variable THING; without it, THING is not there."""
    monkeypatch.delenv("THING", raising=False)
    return lambda value: monkeypatch.setenv("THING", value)


def test_an_empty_variable_counts_as_missing(given):
    given("")

    assert env.text("THING", "default") == "default"
    assert env.integer("THING", 7) == 7
    assert env.flag("THING", True) is True


@pytest.mark.parametrize("value", ["-1", "101", "1.5", "many"])
def test_a_whole_number_outside_its_range_is_refused_with_the_range(given, value):
    given(value)

    with pytest.raises(ImproperlyConfigured, match="THING must be a whole number from 0 to 100"):
        env.integer("THING", 7, least=0, most=100)


@pytest.mark.parametrize(("least", "most", "said"), [(5, None, ", 5 or more"), (None, 1, ", 1 or less")])
def test_a_range_with_one_end_names_that_end(given, least, most, said):
    given("3")

    with pytest.raises(ImproperlyConfigured, match=said):
        env.integer("THING", 7, least=least, most=most)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-0.1", "a lot"])
def test_a_number_is_finite_and_not_too_small(given, value):
    given(value)

    with pytest.raises(ImproperlyConfigured, match="THING must be a number, 0 or more"):
        env.number("THING", "1")


def test_a_number_keeps_its_decimals(given):
    given(" 0.10 ")

    assert env.number("THING", "1") == Decimal("0.10")


def test_a_choice_is_one_of_its_words(given):
    given("c")

    with pytest.raises(ImproperlyConfigured, match="THING must be a or b, not 'c'"):
        env.choice("THING", "a", "b")


@pytest.mark.parametrize(
    ("value", "read"), [("1", True), ("Yes", True), ("on", True), ("0", False), ("FALSE", False)]
)
def test_a_flag_is_read_in_any_of_its_forms(given, value, read):
    given(value)

    assert env.flag("THING", not read) is read


def test_a_flag_that_is_neither_is_refused(given):
    given("maybe")

    with pytest.raises(ImproperlyConfigured, match="THING must be 1 or 0"):
        env.flag("THING")


def test_a_list_drops_spaces_and_empty_words(given):
    given(" a , ,b,")

    assert env.words("THING") == ["a", "b"]


def test_a_folder_is_absolute_and_knows_home(given):
    given("~/data/../data")

    assert env.folder("THING", Path("/elsewhere")) == Path.home().resolve() / "data"


@pytest.mark.parametrize("value", ["https://a.example", "http://localhost:8000", "https://a.example/"])
def test_an_origin_is_scheme_and_host(given, value):
    given(value)

    assert env.origin("THING", "http://unused") == value.rstrip("/")


@pytest.mark.parametrize(
    "value",
    ["a.example", "ftp://a.example", "https://a.example/path", "https://me@a.example", "https://a.example:x"],
)
def test_what_is_more_or_less_than_an_origin_is_refused(given, value):
    given(value)

    with pytest.raises(ImproperlyConfigured, match="THING must look like https"):
        env.origin("THING", "http://unused")


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("gateway.example.com", True),
        (".example.com", True),
        ("8.8.8.8", True),
        ("localhost", False),
        ("a.localhost", False),
        ("gateway.internal", False),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("[::1]", False),
    ],
)
def test_a_host_is_public_if_others_can_reach_it(host, public):
    assert env.is_public(host) is public
