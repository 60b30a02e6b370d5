"""A month and its last day end while calls are made, in UTC and in a tenant's own zone."""

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from tests.chaos.installation import (
    Installation,
    fake_clock,
    ledger_rows,
    make_key,
    operator_of,
    running_installation,
)
from tests.chaos.load import Load
from tests.chaos.report import Finding

pytestmark = [
    pytest.mark.stack,
    pytest.mark.chaos,
    pytest.mark.skipif(fake_clock() is None, reason="needs libfaketime (Debian: apt install faketime)"),
]
START_UP_SECONDS = 100


def next_month(zone: str) -> float:
    now = datetime.now(ZoneInfo(zone))
    following = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = following.replace(year=now.year + now.month // 12, month=now.month % 12 + 1)
    return following.timestamp()


def counters_and_sums(installation: Installation) -> dict[str, tuple[int, int]]:
    """What each budget and day counter of the tenant says, and what its ledger rows add up to."""
    client = installation.redis()
    with installation.postgres() as postgres:
        row = postgres.execute("SELECT id FROM tenants_tenant WHERE slug = 'steady'").fetchone()
        assert row is not None
        place = f"{{s{row[0] % 4}}}:t:{row[0]}"
        spent = postgres.execute(
            "SELECT 'b:' || period_start, sum(cost_usd * 1e9)::bigint FROM billing_usagerecord WHERE tenant_id = %s "
            "GROUP BY 1 UNION ALL SELECT 'd:' || day, sum(input_tokens + output_tokens) FROM billing_usagerecord "
            "WHERE tenant_id = %s GROUP BY 1",
            [row[0], row[0]],
        ).fetchall()
    return {
        name: (int(client.hget(f"{place}:{name}", "spent" if name[0] == "b" else "tokens")), int(booked))
        for name, booked in spent
    }


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_calls_over_a_months_end_count_in_the_period_that_admitted_them(zone: str) -> None:
    ahead = int(next_month(zone) - time.time()) - START_UP_SECONDS
    ends = next_month(zone) - ahead
    with running_installation(ahead_seconds=ahead) as installation:
        with operator_of(installation) as operator:
            key = make_key(operator, "steady", timezone=zone)
        assert time.time() < ends - 5, "it took too long to start"
        time.sleep(ends - 5 - time.time())
        with Load([installation.url], [key]) as load:
            time.sleep(12)
        books = installation.until_quiet()
        finding = Finding.of("clock", load.seen, installation.billed(), ledger_rows(installation), books)
        counted = counters_and_sums(installation)

    assert set(load.seen.statuses) == {"200"}
    assert (finding.missing, finding.wrong, finding.unexplained, finding.estimated) == (0, 0, 0, 0), finding
    assert books["ok"], books
    assert len(counted) == 4  # two periods, two days
    assert all(counter == booked > 0 for counter, booked in counted.values()), counted
