"""The latency histograms in the roll-ups, so that percentiles never read the ledger.

Buckets grow by about a third, so a percentile is right to within a sixth of its value. In SQL, `billing_add_counts(a,
b)` adds two histograms, and the aggregate `billing_sum_counts(column)` sums them.
"""

from bisect import bisect_left
from collections.abc import Sequence

# Upper bounds in ms; the last bucket is open. Never change them: stored histograms refer to them by position.
BOUNDS_MS = (
    25, 50, 75, 100, 150, 200, 300, 400, 550, 750, 1_000, 1_350, 1_800, 2_400, 3_200, 4_300, 5_700,
    7_600, 10_000, 13_500, 18_000, 24_000, 32_000, 43_000, 57_000, 76_000, 100_000, 135_000, 180_000, 300_000,
)  # fmt: skip


def histogram(values_ms: Sequence[int]) -> list[int] | None:
    """How many of `values_ms` fall into each bucket; `None` for no values at all."""
    if not values_ms:
        return None
    counts = [0] * (len(BOUNDS_MS) + 1)
    for value in values_ms:
        counts[bisect_left(BOUNDS_MS, value)] += 1
    return counts


def percentile(counts: Sequence[int] | None, percent: int) -> int | None:
    """The value in ms that `percent` % do not exceed, interpolated within its bucket; `None` without values."""
    total = sum(counts or ())
    if not counts or not total:
        return None
    wanted = -(-total * percent // 100)
    seen = 0
    for position, count in enumerate(counts):
        if seen + count >= wanted:
            lower = BOUNDS_MS[position - 1] if position else 0
            upper = BOUNDS_MS[min(position, len(BOUNDS_MS) - 1)]
            return lower + (upper - lower) * (wanted - seen) // count
        seen += count
    return None
