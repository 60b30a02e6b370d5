"""The cells as template filters, in every template: `{{ row.cost_usd|usd }}`; and the pages' names."""

from typing import Any

from django import template

from gateway_project.console import cells
from gateway_project.console.site import page_names

register = template.Library()
register.filter("usd", cells.usd)
register.filter("short_usd", cells.short_usd)
register.filter("count", cells.count)
register.filter("short_count", cells.short_count)
register.filter("milliseconds", cells.milliseconds)
register.filter("ago", cells.ago)


@register.filter
def as_in_sidebar(crumb: dict[str, Any]) -> Any:
    """The title of one of unfold's crumbs, or what the sidebar calls the page it leads to."""
    return page_names().get(str(crumb.get("link")), crumb["title"])
