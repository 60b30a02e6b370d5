"""Which models a request may be served by, best first. Pure: values in, candidates out."""

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


class ModelNotAllowed(TenantryError):
    """The tenant may not use this model, or there is none such: the answer is the same, by intent."""

    code = "model_not_allowed"
    status = 403
    type = "permission_error"

    def __init__(self, model: str, allowed: list[str]) -> None:
        instead = f"Use: {', '.join(allowed)}." if allowed else "No models are enabled for your account."
        super().__init__(f"Model {model!r} is not available to you. {instead}", details={"allowed": allowed})


def candidates_for(
    ask: Ask,
    *,
    models: Mapping[str, CatalogueModel],
    routes: Mapping[Complexity, str],
    rules: ComplexityRules,
    default_model: str | None,
    downgrade_percent: int,
) -> list[Candidate]:
    """The model asked for (or the default, or the one complexity chooses), then what it may be downgraded to.

    `models` are those the tenant may use. Raises ModelNotAllowed where the first of them isn't among these.
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
    """`model`, and what it may be downgraded to, step by step, as far as the tenant may use it."""
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
    """The name to start from and the reason for it."""
    if ask.model and ask.model != AUTO:
        return ask.model, REQUESTED
    if not ask.model and default_model:
        return default_model, DEFAULT
    complexity = complexity_of(ask, rules)
    return routes.get(complexity, AUTO), AUTOMATIC[complexity]
