"""A hard budget of 5 USD under fire: never passed, nearly all of it usable, and nobody cut off without being told.

The quick ones run in `make test-slow`; `make chaos` runs them with 1,000 calls, and with 4 web processes.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.fire import BUDGET, LEVELS, TEN_CENTS, Burst, aim, fire
from tests.chaos.installation import Installation, operator_of, running_installation
from tests.chaos.report import Burned, write_fire

pytestmark = [pytest.mark.stack, pytest.mark.slow]
AGENT = {"stream": True, "max_tokens": 32_000}
# Prompts that are billed no more than their bytes can count: what a hard budget is held against.
USES_300 = "[[sandbox input_tokens=50 output_tokens=300 deltas=30 delta_words=10 delta_ms=20]]"
USES_ALL = "[[sandbox input_tokens=50 output_tokens=32000 deltas=640 delta_words=50 delta_ms=15]]"
LONG = pytest.mark.chaos


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=LONG)], ids=["2 processes", "4 processes"])
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    with running_installation(web_workers=request.param) as running:
        running.workers = request.param
        yield running


@pytest.fixture(scope="module")
def burned() -> Iterator[list[Burned]]:
    found: list[Burned] = []
    yield found
    if report := os.environ.get("CHAOS_REPORT"):
        write_fire(Path(report), found)


def never_above_the_budget(burst: Burst) -> bool:
    return max(burst.spent, burst.most) <= BUDGET and burst.reserved == 0


@pytest.mark.parametrize(
    ("level", "calls"),
    [*((level, 150) for level in LEVELS), *(pytest.param(level, 1000, marks=LONG) for level in LEVELS)],
)
def test_a_burst_uses_the_budget_and_never_passes_it(
    installation: Installation, burned: list[Burned], level: str, calls: int
) -> None:
    with operator_of(installation) as operator:
        target = aim(operator, f"burst-{level}-{calls}", level)

    burst = fire(installation, target, level, calls=calls, content=TEN_CENTS)
    burned.append(Burned(f"{calls} calls of $0.10, {level}", installation.workers, burst))

    assert never_above_the_budget(burst), burst
    assert burst.spent >= BUDGET * 9 / 10, burst
    assert set(burst.statuses) == {"200", "402"}, burst
    assert burst.statuses["200"] >= 50, burst


def test_streams_that_may_write_much_and_write_little_are_all_admitted(
    installation: Installation, burned: list[Burned]
) -> None:
    with operator_of(installation) as operator:
        target = aim(operator, "agents", "tenant")

    burst = fire(installation, target, "tenant", calls=20, content=USES_300, **AGENT)
    burned.append(Burned("20 streams of 32,000 that write 300", installation.workers, burst))

    assert burst.statuses == {"whole": 20}, burst
    assert never_above_the_budget(burst), burst


def test_streams_that_write_all_they_may_are_cut_in_time_and_told(
    installation: Installation, burned: list[Burned]
) -> None:
    with operator_of(installation) as operator:
        target = aim(operator, "writers", "tenant")

    burst = fire(installation, target, "tenant", calls=20, content=USES_ALL, **AGENT)
    burned.append(Burned("20 streams of 32,000 that write them all", installation.workers, burst))

    assert burst.statuses.keys() <= {"whole", "cut"}, burst
    assert burst.statuses["cut"] >= 10, burst  # not half of them fit
    assert never_above_the_budget(burst), burst
    assert burst.spent >= BUDGET / 2, burst


def test_afterwards_the_books_agree(installation: Installation) -> None:
    books = installation.until_quiet()

    assert books["ok"], books
    assert not any(float(each["reserved_usd"]) for each in books["tenants"]), books
