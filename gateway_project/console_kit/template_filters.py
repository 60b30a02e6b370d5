"""The formatters as filters in every template (`{{ row.cost_usd|usd }}`), and the pages' sidebar names."""

from typing import Any

from django import template

from gateway_project.console_kit import formatters
from gateway_project.console_kit.site import page_names

register = template.Library()
register.filter("usd", formatters.usd)
register.filter("short_usd", formatters.short_usd)
register.filter("count", formatters.count)
register.filter("short_count", formatters.short_count)
register.filter("milliseconds", formatters.milliseconds)
register.filter("refusal", formatters.refusal)
register.filter("ago", formatters.ago)


@register.filter
def as_in_sidebar(crumb: dict[str, Any]) -> Any:
    """The title of one of unfold's breadcrumbs: the sidebar's name for its page, if it has one."""
    return page_names().get(str(crumb.get("link")), crumb["title"])
