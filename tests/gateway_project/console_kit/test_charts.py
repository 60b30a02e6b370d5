"""Charts drawn on the server."""

import re
from datetime import date, timedelta
from decimal import Decimal

from gateway_project.console_kit.charts import FLOOR, HEIGHT, Point, bars_by_day

FIRST = date(2026, 6, 1)


def drawn(*values):
    points = [Point(FIRST + timedelta(days=n), Decimal(value), f"${value}") for n, value in enumerate(values)]
    return str(bars_by_day(points, title="Spend", top="$9"))


def heights(svg):
    return [float(found) for found in re.findall(r'<rect x=[^>]*height="([\d.]+)" rx', svg)]


def test_the_tallest_day_fills_the_room_and_others_their_share():
    assert heights(drawn(5, 10)) == [(HEIGHT - FLOOR - 8) / 2, HEIGHT - FLOOR - 8]


def test_a_day_with_little_is_still_seen_and_one_with_nothing_is_not():
    assert heights(drawn(0, "0.000001", 1000))[:2] == [0.0, 1.5]


def test_nothing_at_all_is_a_chart_too():
    assert heights(drawn()) == []
    assert heights(drawn(0, 0)) == [0.0, 0.0]


def test_each_bar_says_its_day_and_value():
    assert "Mon 01 Jun: $5" in drawn(5)
