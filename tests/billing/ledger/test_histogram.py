import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from billing.ledger.histogram import BOUNDS_MS, histogram, percentile


def test_nothing_measured_is_no_histogram():
    assert histogram([]) is None
    assert percentile(None, 95) is None


@given(st.lists(st.integers(0, 299_000), min_size=1, max_size=200), st.sampled_from([50, 95, 99]))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(values, percent):
    true = sorted(values)[-(-len(values) * percent // 100) - 1]
    bucket = next(position for position, bound in enumerate(BOUNDS_MS) if true <= bound)
    lower = BOUNDS_MS[bucket - 1] if bucket else 0

    found = percentile(histogram(values), percent)
    assert found is not None
    assert lower <= found <= BOUNDS_MS[bucket]


@pytest.mark.django_db
def test_postgresql_adds_histograms_bucket_by_bucket():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT billing_sum_counts(counts)"
            " FROM (VALUES ('{1,2}'::bigint[]), (NULL), ('{1,2,3}')) AS stored (counts)"
        )

        assert cursor.fetchone() == ([2, 4, 3],)
