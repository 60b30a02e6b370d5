"""Icons that a page shows by the letters of their names, because its font does not have them."""

from playwright.sync_api import Page

# Each element and pseudo-element that is set in the icons' font, by its text; a glyph is as wide as it is high.
_FIND = """async () => {
    await document.fonts.load("24px 'Material Symbols Outlined'");
    const context = document.createElement("canvas").getContext("2d");
    const spelt = new Set();
    const look = (style, text) => {
        if (!style.fontFamily.includes("Material Symbols")) return;
        context.font = "100px 'Material Symbols Outlined'";
        for (const word of text.trim().split(/\\s+/)) {
            if (/^[a-z][a-z0-9_]+$/.test(word) && context.measureText(word).width > 130) spelt.add(word);
        }
    };
    for (const element of document.querySelectorAll("body *")) {
        const own = [...element.childNodes].filter((each) => each.nodeType === Node.TEXT_NODE);
        look(getComputedStyle(element), own.map((each) => each.data).join(" "));
        for (const part of ["::before", "::after"]) {
            const style = getComputedStyle(element, part);
            if (style.content.startsWith('"')) look(style, style.content.slice(1, -1));
        }
    }
    return [...spelt];
}"""


def spelt_icons(page: Page) -> list[str]:
    """Their names. Icons that are hidden as yet are looked at too."""
    found: list[str] = page.evaluate(_FIND)
    return found
