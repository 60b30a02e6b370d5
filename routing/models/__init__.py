"""The catalogue, the rules that choose from it, and the upstreams besides EzAI."""

from routing.models.complexity_rule import ComplexityRule
from routing.models.model import Model
from routing.models.upstream import Upstream

__all__ = ["ComplexityRule", "Model", "Upstream"]
