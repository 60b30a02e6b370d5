"""Reading a bill: whatever its columns are called, and refusing what can't be read."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from billing.upstream_bill.parsing import BadBill, BillLine, read_csv, read_rows

DAY = date(2026, 11, 20)


@pytest.mark.parametrize(
    "text",
    [
        "day,model,cost_usd\n2026-11-20,sonnet,12.5\n",
        "\ufeffDate;Model Name;Cost\n2026-11-20;sonnet;$12.5\n".replace("Model Name", "model_name"),
        "timestamp\tmodel\tamount\n2026-11-21T01:00:00+02:00\tsonnet\t12.50\n",
        "cost,model,date,extra\r\n12.5,sonnet,2026-11-20T23:59:59Z,x\r\n",
    ],
)
def test_a_bill_is_read_whatever_its_columns_are_called(text):
    assert read_csv(text.encode(), {}) == [BillLine(DAY, "sonnet", Decimal("12.5"))]


def test_a_column_of_upstreams_own_is_named_in_the_settings():
    rows = [{"usage_day": "2026-11-20", "sku": "sonnet", "total": 3}]
    fields = {"day": "usage_day", "model": "sku", "cost_usd": "total"}
    assert read_rows(rows, fields) == [BillLine(DAY, "sonnet", Decimal(3))]


def test_rows_of_one_day_and_model_are_added_up():
    rows: list[dict[str, Any]] = [
        {"day": "2026-11-20", "model": "sonnet", "cost": "1.25", "prompt_tokens": 10, "requests": "2"},
        {"day": "2026-11-20", "model": "sonnet", "cost": "0.75", "prompt_tokens": 5},
        {"day": "2026-11-20", "model": "opus", "cost": "0"},
    ]
    assert read_rows(rows, {}) == [
        BillLine(DAY, "opus", Decimal(0)),
        BillLine(DAY, "sonnet", Decimal(2), requests=2, input_tokens=15),
    ]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"day": "2026-11-20", "cost": "1"}, "Row 1 has no model"),
        ({"day": "20.11.2026", "model": "m", "cost": "1"}, "not a date such as"),
        ({"day": "2026-11-20", "model": "m", "cost": "1,5"}, "not an amount"),
        ({"day": "2026-11-20", "model": "m", "cost": "nan"}, "not an amount"),
        ({"day": "2026-11-20", "model": "m", "cost": "1.2.3"}, "not an amount"),
        ({"day": "2026-11-20", "model": "m", "cost": "1", "requests": "-1"}, "not a number of requests"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_row(row, told):
    with pytest.raises(BadBill, match=told):
        read_rows([row], {})


def test_a_file_that_is_no_text_is_refused():
    with pytest.raises(BadBill, match="UTF-8"):
        read_csv(b"\xff\xfe\x00", {})
