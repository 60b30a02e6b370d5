"""Which models may serve a request, best first. Pure functions."""

from collections.abc import Mapping

from gateway_project.ground.errors import TenantryError
from routing.choice import (
    AUTOMATIC,
    DEFAULT,
    REQUESTED,
    Ask,
    Candidate,
    CatalogueModel,
    Change,
    Complexity,
    ComplexityRules,
    Route,
)
from routing.complexity import complexity_of

AUTO = "auto"
_NO_MODELS = "No models are enabled for your account. Ask your provider to enable one."


class ModelNotAllowed(TenantryError):
    """The tenant may not use this model, or it does not exist. The answer is the same on purpose.

    It is a 404, as both vendors have it, since clients take a 403 for a wrong key.
    """

    code = "model_not_allowed"
    status = 404
    type = "not_found_error"

    def __init__(self, model: str, allowed: list[str]) -> None:
        message = f"Model {model[:100]!r} is not available to you. Use: {', '.join(allowed)}."
        super().__init__(message if allowed else _NO_MODELS, details={"allowed": allowed})
        self.model = model


def candidates_for(
    ask: Ask,
    *,
    models: Mapping[str, CatalogueModel],
    routes: Mapping[Complexity, str],
    rules: ComplexityRules,
    default_model: str | None,
    downgrade_percent: int,
) -> list[Candidate]:
    """The requested model (or the default, or the one that complexity chooses), then what it may be downgraded to.

    `models` are those the tenant may use. Raises ModelNotAllowed if the first candidate is not among them.
    """
    name, route = _chosen(ask, routes=routes, rules=rules, default_model=default_model)
    model = models.get(name)
    if model is None:
        raise ModelNotAllowed(name, sorted(models))
    ladder = ladder_from(model, models)
    last = len(ladder) - 1
    return [
        Candidate(
            model=rung,
            route=route if position == 0 else route.then(Change.DOWNGRADED),
            skip_from_percent=downgrade_percent if position < last else None,
        )
        for position, rung in enumerate(ladder)
    ]


def ladder_from(model: CatalogueModel, models: Mapping[str, CatalogueModel]) -> list[CatalogueModel]:
    """`model` and, step by step, what it may be downgraded to, as far as the tenant may use that."""
    ladder, seen = [model], {model.name}
    while (cheaper := ladder[-1].downgrade_to) and cheaper not in seen:
        seen.add(cheaper)
        if cheaper not in models:
            break
        ladder.append(models[cheaper])
    return ladder


def _chosen(
    ask: Ask, *, routes: Mapping[Complexity, str], rules: ComplexityRules, default_model: str | None
) -> tuple[str, Route]:
    """The name of the first choice, and the reason for it. Raises ModelNotAllowed."""
    if ask.model and ask.model != AUTO:
        return ask.model, REQUESTED
    if not ask.model and default_model:
        return default_model, DEFAULT
    complexity = complexity_of(ask, rules)
    return routes.get(complexity, AUTO), AUTOMATIC[complexity]
