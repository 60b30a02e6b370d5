"""The icon font has every icon that is shown."""

import re

import pytest

from gateway_project.console_kit import fonts

pytestmark = pytest.mark.django_db


def test_every_icon_that_a_page_can_show_is_in_the_font_that_is_served():
    served = set(fonts.ligatures(fonts.ICON_FONT))

    assert fonts.icons_named() <= served
    assert fonts.icons_of_theme() <= served
    assert {"calendar_today", "schedule", "navigate_next"} <= fonts.icons_of_theme()


def test_every_icon_that_the_themes_styles_draw_is_in_the_font_that_is_served():
    """By another way than the one that made the font: the styles as they are sent, and every name in them."""
    styles = (fonts.THEME / "static/unfold/css/styles.css").read_text()
    drawn = set(re.findall(r'content:\s*"([a-z_0-9]{3,})"', styles))

    assert len(drawn) > 25
    assert drawn <= set(fonts.ligatures(fonts.ICON_FONT))
