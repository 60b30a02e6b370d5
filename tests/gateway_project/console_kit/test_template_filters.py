"""The console's cells as template filters."""

from decimal import Decimal
from typing import Any

import pytest
from django.template import Context, Template

from gateway_project.console_kit.site import page_names
from gateway_project.console_kit.template_filters import as_in_sidebar, register


@pytest.mark.parametrize("name", ["usd", "short_usd", "count", "short_count", "milliseconds", "ago"])
def test_every_cell_is_there_and_shows_nothing_as_a_dash(name):
    assert register.filters[name](None) == "–"


def test_a_template_uses_them():
    library = "gateway_project.console_kit.template_filters"
    from django.conf import settings
    from django.template import engines

    assert settings.TEMPLATES
    engine: Any = engines["django"]
    engine = engine.engine
    [short] = [key for key, module in engine.libraries.items() if module == library] or [None]
    load = f"{{% load {short} %}}" if short else ""

    assert Template(load + "{{ cost|usd }}").render(Context({"cost": Decimal("0.5")})) == "$0.50"


def test_a_crumb_is_called_as_in_the_sidebar():
    [(link, name), *_] = page_names().items()

    assert as_in_sidebar({"link": link, "title": "Something else"}) == name
    assert as_in_sidebar({"link": "/nowhere/", "title": "Something else"}) == "Something else"
