"""Results as Markdown."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec


class Table(msgspec.Struct):
    title: str
    header: Sequence[str]
    rows: list[Sequence[object]]
    notes: str = ""

    def markdown(self) -> str:
        lines = [f"### {self.title}", ""]
        lines += [_line(self.header), "|" + "---|" * len(self.header), *(_line(row) for row in self.rows)]
        return "\n".join([*lines, *(["", self.notes] if self.notes else []), ""])


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(_text(cell) for cell in cells) + " |"


def _text(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.2f}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def write(path: Path, name: str, text: str) -> None:
    """Put `text` between the marks of `name` in a Markdown file."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    content = path.read_text()
    replaced = re.sub(
        f"{re.escape(start)}.*?{re.escape(end)}", lambda _: f"{start}\n{text}\n{end}", content, flags=re.S
    )
    path.write_text(replaced)
