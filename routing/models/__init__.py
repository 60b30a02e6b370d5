"""The catalogue and the rules that choose from it."""

from routing.models.complexity_rule import ComplexityRule
from routing.models.model import Model

__all__ = ["ComplexityRule", "Model"]
