"""Charts drawn as SVG on the server: without scripts or a library, and readable by a screen reader."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

import msgspec
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

WIDTH, HEIGHT, FLOOR = 720, 200, 22  # user units; FLOOR is the strip below the bars for dates


class Bar(msgspec.Struct, frozen=True):
    """One bar: its position in user units, the text on hover (`label`) and the date below it (`tick`)."""

    x: float
    y: float
    width: float
    height: float
    tick_x: float
    label: str
    tick: str
    anchor: str


class Point(msgspec.Struct, frozen=True):
    """One day's value in a chart; `shown` is the value as text."""

    day: date
    value: Decimal
    shown: str


def bars_by_day(points: Sequence[Point], *, title: str, top: str) -> SafeString:
    """A chart with a bar for each day; `top` is the tallest bar's value as text."""
    tallest = max((point.value for point in points), default=Decimal(0)) or Decimal(1)
    step = WIDTH / max(len(points), 1)
    room = HEIGHT - FLOOR - 8
    bars = []
    for position, point in enumerate(points):
        # Floats are fine: these are positions on the screen, not money.
        height = max(float(point.value / tallest) * room, 1.5 if point.value else 0)
        bars.append(
            Bar(
                x=round(position * step + step * 0.14, 2),
                y=round(HEIGHT - FLOOR - height, 2),
                width=round(step * 0.72, 2),
                height=round(height, 2),
                tick_x=WIDTH if position == len(points) - 1 else round((position + 0.5) * step, 2),
                label=f"{point.day:%a %d %b}: {point.shown}",
                anchor="end" if position == len(points) - 1 else "middle",
                tick=f"{point.day.day} {point.day:%b}" if position % 7 == (len(points) - 1) % 7 else "",
            )
        )
    context = {
        "bars": bars,
        "title": title,
        "top": top,
        "width": WIDTH,
        "height": HEIGHT,
        "floor": HEIGHT - FLOOR,
    }
    return render_to_string("admin/chart_bars.html", context)
