"""Subset the theme's fonts to what the console shows, after a new icon or theme; see `static/unfold/README.md`."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import unfold
from fontTools import subset
from fontTools.ttLib import TTFont

HOME = Path(__file__).resolve().parents[2]
THEME = Path(unfold.__file__).parent
TARGET = HOME / "gateway_project" / "static" / "unfold" / "fonts"
ICONS = TARGET / "material-symbols" / "icons.txt"
ICON_FONT = TARGET / "material-symbols" / "Material-Symbols-Outlined.woff2"
THEME_FONT = THEME / "static/unfold/fonts/material-symbols" / ICON_FONT.name
OURS = ("gateway_project", "tenants", "billing", "routing", "templates")
WORD = re.compile(r"[a-z][a-z0-9_]+")
QUOTED = re.compile(r"""["']([a-z][a-z0-9_]+)["']""")
BETWEEN_TAGS = re.compile(r"material-symbols-outlined[^>]*>([^<]*)<")
LIGATURE_LETTERS = [*range(0x30, 0x3A), 0x5F, *range(0x61, 0x7B)]
LATIN = [*range(0x20, 0x180), *map(ord, "–—‘’“”•…‰€←→≈≠≤≥▾✓−  ")]


def icons_named() -> set[str]:
    """The icons that our own code names, by `icon=` or in the sidebar."""
    named = set()
    for path in (path for room in OURS for path in (HOME / room).rglob("*.py")):
        text = path.read_text()
        named |= set(
            re.findall(r'icon="(\w+)"|"(?:icon|SITE_SYMBOL)": "(\w+)"|_page\("[^"]+", "(\w+)"', text)
        )
    return {name for names in named for name in names if name}


def icons_of_theme() -> set[str]:
    """The icons that the theme's pages, scripts and styles can show.

    Every quoted word counts that is the name of an icon in its font. That is too many, which costs little.
    """
    return _words() & set(ligatures(THEME_FONT))


def main() -> None:
    known = ligatures(THEME_FONT)
    kept = icons_of_theme() | icons_named()
    _save(
        TTFont(THEME_FONT),
        ICON_FONT,
        unicodes=LIGATURE_LETTERS,
        glyphs=[known[name] for name in kept],
        layout_closure=False,
    )
    ICONS.write_text("\n".join(sorted(kept)) + "\n")
    for source in (THEME / "static/unfold/fonts/inter").glob("*.woff2"):
        _save(TTFont(source), TARGET / "inter" / source.name, unicodes=LATIN)


def _words() -> set[str]:
    words: set[str] = set()
    scripts = (THEME / "static/unfold/js").glob("*.js")  # not the folders below: libraries without icons
    for path in (*scripts, *(each for kind in ("html", "py", "css") for each in THEME.rglob(f"*.{kind}"))):
        text = path.read_text()
        words |= set(QUOTED.findall(text))
        for inside in BETWEEN_TAGS.findall(text):
            words |= set(WORD.findall(inside))
    return words


def ligatures(path: Path) -> dict[str, str]:
    """The font's ligatures: the glyph for each icon's name."""
    font = TTFont(path)
    letters = {glyph: chr(code) for code, glyph in font.getBestCmap().items()}
    glyphs = {}
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in (getattr(each, "ExtSubTable", each) for each in lookup.SubTable):
            for first, each in getattr(table, "ligatures", {}).items():
                for ligature in each:
                    word = "".join(letters.get(glyph, "?") for glyph in (first, *ligature.Component))
                    glyphs[word] = ligature.LigGlyph
    return glyphs


def _save(
    font: TTFont, path: Path, *, unicodes: Iterable[int], glyphs: Iterable[str] = (), **options: Any
) -> None:
    cut = subset.Options(flavor="woff2", hinting=False, layout_features=["*"], **options)
    subsetter = subset.Subsetter(cut)
    subsetter.populate(unicodes=unicodes, glyphs=glyphs)
    subsetter.subset(font)
    subset.save_font(font, path, cut)


if __name__ == "__main__":
    main()
