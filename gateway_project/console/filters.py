"""The cells as template filters, in every template: `{{ row.cost_usd|usd }}`."""

from django import template

from gateway_project.console import cells

register = template.Library()
register.filter("usd", cells.usd)
register.filter("short_usd", cells.short_usd)
register.filter("count", cells.count)
register.filter("short_count", cells.short_count)
register.filter("milliseconds", cells.milliseconds)
register.filter("ago", cells.ago)
