"""The console's pages for the catalogue, its rules and upstreams."""

from routing.admin import complexity_rule, model, upstream

__all__ = ["complexity_rule", "model", "upstream"]
