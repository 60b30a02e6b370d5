"""The files that a build of the image would send: .dockerignore read as Docker reads it."""

import os
import re
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]


def context(folder: Path) -> set[str]:
    """The paths below `folder` that the product's .dockerignore lets through."""
    lines = (HOME / ".dockerignore").read_text().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    rules = [(_expression(each.removeprefix("!")), each.startswith("!")) for each in patterns]
    found = set()
    for root, folders, files in os.walk(folder):
        # A folder that no rule lets anything through of is not entered: as Docker does, and it may be large.
        above = Path(root).relative_to(folder)
        folders[:] = [name for name in folders if above.parts or _may_hold(name, patterns)]
        for name in files:
            path = (Path(root) / name).relative_to(folder).as_posix()
            if _is_sent(path, rules):
                found.add(path)
    return found


def _may_hold(name: str, patterns: list[str]) -> bool:
    return any(pattern.startswith(f"!{name}") for pattern in patterns)


def _is_sent(path: str, rules: list[tuple["re.Pattern[str]", bool]]) -> bool:
    """The last rule decides that fits the path or a folder it is in."""
    parts = path.split("/")
    places = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    sent = True
    for expression, lets_through in rules:
        if any(expression.fullmatch(place) for place in places):
            sent = lets_through
    return sent


def _expression(pattern: str) -> "re.Pattern[str]":
    text = re.escape(pattern.strip("/"))
    text = text.replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return re.compile(text.replace(r"\?", "[^/]"))
