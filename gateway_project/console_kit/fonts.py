"""Cut the theme's fonts to what the console shows; see `static/unfold/README.md`. Run after a new icon or theme."""

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
OURS = ("gateway_project", "tenants", "billing", "routing", "templates")
WORD = re.compile(r"[a-z][a-z0-9_]+")
LIGATURE_LETTERS = [*range(0x30, 0x3A), 0x5F, *range(0x61, 0x7B)]
LATIN = [*range(0x20, 0x180), *map(ord, "–—‘’“”•…‰€←→≈≠≤≥▾✓−  ")]


def icons_named() -> set[str]:
    """What our own code asks for by `icon=` or in the sidebar."""
    named = set()
    for path in (path for room in OURS for path in (HOME / room).rglob("*.py")):
        text = path.read_text()
        named |= set(
            re.findall(r'icon="(\w+)"|"(?:icon|SITE_SYMBOL)": "(\w+)"|_page\("[^"]+", "(\w+)"', text)
        )
    return {name for found in named for name in found if name}


def main() -> None:
    icons = TTFont(THEME / "static/unfold/fonts/material-symbols/Material-Symbols-Outlined.woff2")
    known = _ligatures(icons)
    kept = (_words() & set(known)) | icons_named()
    _save(
        icons,
        TARGET / "material-symbols" / "Material-Symbols-Outlined.woff2",
        unicodes=LIGATURE_LETTERS,
        glyphs=[known[name] for name in kept],
        layout_closure=False,
    )
    ICONS.write_text("\n".join(sorted(kept)) + "\n")
    for source in (THEME / "static/unfold/fonts/inter").glob("*.woff2"):
        _save(TTFont(source), TARGET / "inter" / source.name, unicodes=LATIN)


def _words() -> set[str]:
    """Every word that stands where an icon's name may stand: too many, which costs little."""
    words: set[str] = set()
    for path in (*THEME.rglob("*.html"), *THEME.rglob("*.py"), THEME / "static/unfold/js/app.js"):
        text = path.read_text()
        words |= set(re.findall(r"""["']([a-z][a-z0-9_]+)["']""", text))
        for inside in re.findall(r"material-symbols-outlined[^>]*>([^<]*)<", text):
            words |= set(WORD.findall(inside))
    return words


def _ligatures(font: TTFont) -> dict[str, str]:
    """Glyphs by the word that stands for them."""
    letters = {glyph: chr(code) for code, glyph in font.getBestCmap().items()}
    found = {}
    for lookup in font["GSUB"].table.LookupList.Lookup:
        for table in (getattr(each, "ExtSubTable", each) for each in lookup.SubTable):
            for first, ligatures in getattr(table, "ligatures", {}).items():
                for ligature in ligatures:
                    word = "".join(letters.get(glyph, "?") for glyph in (first, *ligature.Component))
                    found[word] = ligature.LigGlyph
    return found


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
