"""Nano-dollars and USD: exact both ways, rounded in one direction, converted in one module."""

import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_project.ground import money
from gateway_project.ground.money import nine_places, to_nano, to_usd

HOME = Path(__file__).resolve().parents[3]
SOURCES = [
    path
    for room in ("billing", "gateway_project", "proxy", "routing", "tenants")
    for path in sorted((HOME / room).rglob("*.py"))
    if path != Path(money.__file__) and "migrations" not in path.parts
]


@given(st.integers(-(10**18), 10**18))
def test_nano_dollars_survive_the_way_to_usd_and_back(nano):
    assert to_nano(to_usd(nano)) == nano


@pytest.mark.parametrize(
    ("usd", "nano"), [("1.0000000001", 1_000_000_001), ("0.0000000009", 1), ("1.000000001", 1_000_000_001)]
)
def test_what_is_finer_than_a_nano_dollar_is_rounded_up(usd, nano):
    assert to_nano(Decimal(usd)) == nano
    assert nine_places(Decimal(usd)) == to_usd(nano)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(HOME)))
def test_no_other_module_converts(path):
    source = re.sub(r"(?m)#.*$", "", path.read_text())

    assert re.findall(r"\b1_000_000_000\b|\b1e-?9\b|1E-9|\b10 ?\*\* ?9\b(?!, \"B\")|scaleb\(", source) == []
