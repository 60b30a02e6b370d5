"""Put a price on candidates: what the meter has to reserve for each."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

import msgspec

from billing.meter.lease import PricedCandidate, Run
from billing.meter.output_sizes import OutputSizes
from billing.prices.price_book import MILLION, ModelNotPriced, PriceBook, with_margin
from gateway_project.ground.money import LARGEST_BUDGET_USD, to_nano
from proxy.dialects.base import ParsedRequest
from proxy.dialects.prompt_bound import input_bound, searching_bound
from proxy.errors import InvalidRequest
from routing.choice import REQUESTED, Candidate, CatalogueModel
from tenants.policy import Policy

LONGEST_RUN_ID = 200
# Models that bill reasoning which their streams do not show. They are held for at their worst from the start.
_THINK_UNSEEN = ("o1", "o3", "o4", "gpt-5", "gemini-2.5", "gemini-3", "grok-")


def priced_candidates(
    parsed: ParsedRequest,
    candidates: Sequence[Candidate],
    *,
    policy: Policy,
    prices: PriceBook,
    sizes: OutputSizes,
    billed: bool,
) -> list[PricedCandidate]:
    """The candidates, with the most that the request can cost with each, at the sell price.

    With `billed` false they hold nothing. A cheaper candidate without a price ends the ladder. Raises ModelNotPriced if
    the first one has no price, InvalidRequest if the requested model does not fit the request or its `max_tokens`.
    """
    first = candidates[0]
    _refuse_misfit(parsed, first.model)
    wanted = parsed.ask.max_tokens
    if first.route is REQUESTED and wanted > first.model.max_output_tokens:
        raise InvalidRequest(
            f"{parsed.max_tokens_field}: {wanted} is more than the maximum output of {first.model.name} "
            f"({first.model.max_output_tokens}).",
            field=parsed.max_tokens_field,
        )
    offers: list[PricedCandidate] = []
    for candidate in candidates:
        try:
            offers.append(priced_candidate(parsed, candidate, policy=policy, prices=prices, sizes=sizes))
        except ModelNotPriced as error:
            if not offers:
                allowed = usable(parsed, policy=policy, prices=prices)
                raise ModelNotPriced(error.model, allowed=allowed) from None
            offers[-1] = _never_passed_over(offers[-1])
            break
    if billed:
        return offers
    return [
        msgspec.structs.replace(offer, input_hold_nano=0, output_nano_per_token=0, max_tokens=0)
        for offer in offers
    ]


def usable(parsed: ParsedRequest, *, policy: Policy, prices: PriceBook) -> list[str]:
    """The models that could serve this kind of request: the tenant's own that have a price."""
    return prices.priced(name for name, model in policy.models.items() if model.embeds == parsed.embeds)


def _never_passed_over(offer: PricedCandidate) -> PricedCandidate:
    """`offer` as the last rung of the ladder, below which no model could serve."""
    candidate = msgspec.structs.replace(offer.candidate, skip_from_percent=None)
    return msgspec.structs.replace(offer, candidate=candidate)


def _refuse_misfit(parsed: ParsedRequest, model: CatalogueModel) -> None:
    if model.embeds and not parsed.embeds:
        raise InvalidRequest(f"model: {model.name} is an embedding model. Use /v1/embeddings.", field="model")
    if parsed.embeds and not model.embeds:
        raise InvalidRequest(f"model: {model.name} is not an embedding model.", field="model")


def priced_candidate(
    parsed: ParsedRequest,
    candidate: Candidate,
    *,
    policy: Policy,
    prices: PriceBook,
    sizes: OutputSizes,
) -> PricedCandidate:
    """The candidate with the most that the request can cost with it, at the sell price. Raises ModelNotPriced."""
    ask = parsed.ask
    bound = input_bound(ask, candidate.model, prompts=parsed.prompts)
    price = prices.price_of(candidate.model.name, context=bound)
    per_million = price.dearest_input if parsed.caches else price.input
    read = searching_bound(bound, searches=parsed.extra_hold_searches, window=candidate.model.context_window)
    prompt = -(-read * per_million // MILLION)
    searches = parsed.extra_hold_searches * price.web_search
    output = -(-ask.answers * price.output // MILLION)
    most = candidate.model.max_output_tokens
    first = None
    if _shows_its_output(parsed, candidate.model):
        first = max(ask.min_output_tokens, sizes.expected(policy.tenant_id, candidate.model.name))
    return PricedCandidate(
        candidate=candidate,
        price_id=price.id,
        input_hold_nano=with_margin(prompt + searches, policy.margin_percent),
        output_nano_per_token=with_margin(output, policy.margin_percent),
        max_tokens=most if ask.max_tokens < 0 else min(ask.max_tokens, most),
        min_output_tokens=ask.min_output_tokens,
        first_tokens=first,
    )


def _shows_its_output(parsed: ParsedRequest, model: CatalogueModel) -> bool:
    """Whether the hold can grow with the answer, which is a stream whose tokens can be counted as they pass."""
    ask = parsed.ask
    return (
        ask.stream
        and ask.answers == 1
        and not parsed.thinks_freely
        and not model.upstream_name.startswith(_THINK_UNSEEN)
    )


def run_of(headers: Mapping[str, str]) -> Run | None:
    """The run that the caller names, with its budget if it has one. Raises InvalidRequest."""
    run_id = headers.get("x-tenantry-run-id", "").strip()
    most = headers.get("x-tenantry-run-max-usd", "").strip()
    if len(run_id) > LONGEST_RUN_ID:
        raise InvalidRequest(
            f"x-tenantry-run-id: at most {LONGEST_RUN_ID} characters.", field="x-tenantry-run-id"
        )
    if not most:
        return Run(id=run_id) if run_id else None
    if not run_id:
        raise InvalidRequest("x-tenantry-run-max-usd: needs x-tenantry-run-id.", field="x-tenantry-run-id")
    try:
        usd = Decimal(most)
    except InvalidOperation:
        usd = Decimal(-1)
    if not (usd.is_finite() and 0 <= usd <= LARGEST_BUDGET_USD):
        raise InvalidRequest(
            f"x-tenantry-run-max-usd: {most[:40]!r} is not an amount in USD.", field="x-tenantry-run-max-usd"
        )
    return Run(id=run_id, budget_nano=to_nano(usd))
