"""Staff's pages of the catalogue and its rules."""

from routing.admin import complexity_rule, model, upstream

__all__ = ["complexity_rule", "model", "upstream"]
