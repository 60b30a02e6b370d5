"""What the address of a portal's page asks for: read, or said to be unreadable."""

from datetime import UTC, date, datetime

import pytest
from django.http import QueryDict

from gateway_project.portal.page_query import PageQuery


@pytest.mark.parametrize(
    ("reader", "value", "fault"),
    [
        ("number", "-1", "There is no thing '-1'."),
        ("number", "٣", "There is no thing '٣'."),
        ("number", "1" * 19, "There is no thing"),
        ("day", "31.10.2026", "is not a date"),
        ("day", "1999-12-31", "There is no usage on"),
        ("moment", "noon", "is not a time"),
        ("moment", "3000-01-01T00:00", "There are no requests at"),
        ("request_id", "abc", "is not a request ID"),
        ("tag", "=x", "is not a tag"),
        ("tag", "x" * 130, "is not a tag"),
    ],
)
def test_what_cannot_be_read_is_a_fault_and_no_value(reader, value, fault):
    asked = PageQuery(_query(value))

    assert not getattr(asked, reader)("thing")
    [found] = asked.faults
    assert fault in found


def _query(value):
    query = QueryDict(mutable=True)
    query["thing"] = value
    return query


@pytest.mark.parametrize(
    ("reader", "value", "read"),
    [
        ("number", " 12 ", 12),
        ("day", "2026-10-31", date(2026, 10, 31)),
        ("moment", "2026-10-31T12:00", datetime(2026, 10, 31, 12, tzinfo=UTC)),
        ("moment", "2026-10-31T12:00+02:00", datetime(2026, 10, 31, 10, tzinfo=UTC)),
        ("tag", "team=a", "team=a"),
    ],
)
def test_what_can_be_read_is_no_fault(reader, value, read):
    asked = PageQuery(_query(value))

    assert getattr(asked, reader)("thing") == read
    assert asked.faults == []


@pytest.mark.parametrize("reader", ["number", "day", "moment", "request_id", "tag", "text"])
def test_what_is_missing_is_no_fault(reader):
    asked = PageQuery(_query("  "))

    assert not getattr(asked, reader)("thing")
    assert asked.faults == []


def test_a_choice_that_is_not_offered_falls_back_to_the_default():
    asked = PageQuery(_query("purple"))

    assert asked.choice("thing", ["red"], default="red", called="colour") == "red"
    assert asked.faults == ["There is no colour 'purple'."]


def test_a_fault_quotes_no_more_than_60_characters():
    asked = PageQuery(_query("x" * 500))
    asked.day("thing")

    assert len(asked.faults[0]) < 120
