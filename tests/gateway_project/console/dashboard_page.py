"""Reading the console's first page."""

from datetime import UTC, date, datetime
from typing import Any


def tile(page: Any, title: str) -> Any:
    tiles = (*page.context["usage_tiles"], *page.context["attention_tiles"])
    return next(tile for tile in tiles if tile.title.startswith(title))


def today() -> date:
    return datetime.now(UTC).date()
