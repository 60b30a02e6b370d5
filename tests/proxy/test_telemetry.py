"""Tallies, added to the metrics all at once."""

from prometheus_client import CollectorRegistry, Histogram

from proxy.telemetry import Observed, TalliedHistogram

BUCKETS = (0.1, 1, 10)


def samples(histogram):
    return [
        (each.name, each.labels, each.value)
        for each in histogram.collect()[0].samples
        if "created" not in each.name
    ]


def test_many_observations_at_once_are_as_each_by_itself():
    one_by_one = Histogram("seconds", "x", buckets=BUCKETS, registry=CollectorRegistry())
    at_once = TalliedHistogram("seconds", "x", buckets=BUCKETS, registry=CollectorRegistry())
    seen = Observed(BUCKETS)

    for milliseconds in (50, 100, 500, 5_000, 50_000):
        one_by_one.observe(milliseconds / 1000)
        seen.observe(milliseconds)
    at_once.add(seen)

    assert samples(at_once) == samples(one_by_one)


def test_what_was_added_is_not_added_again():
    histogram = TalliedHistogram("seconds", "x", buckets=BUCKETS, registry=CollectorRegistry())
    seen = Observed(BUCKETS)
    seen.observe(500)

    histogram.add(seen)
    before = samples(histogram)
    histogram.add(seen)

    assert samples(histogram) == before
