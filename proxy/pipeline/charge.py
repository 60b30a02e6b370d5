"""What a call is charged: the usage that its upstream reports, if plausible, at the price of the model that served.

These are pure functions; `proxy.pipeline.settling` books their results.
"""

import msgspec

from billing.events import OVERRAN
from billing.meter.lease import Lease
from billing.prices.price_book import PriceBook, cost, with_margin
from billing.usage import Usage
from gateway_project.ground.money import NanoUSD, to_usd
from proxy.dialects.base import ParsedRequest, UsageReading
from routing.choice import Change

# The most a model writes in a second: for the estimate of a JSON call whose caller left before its answer.
FASTEST_TOKENS_PER_SECOND = 80
# Bytes of a prompt for each token, for estimates. Prose, code and JSON have 2.5 to 5.
BYTES_PER_TOKEN = 3
LONGEST_NOTE = 500


class Judgement(msgspec.Struct, frozen=True):
    """The usage to charge for. `note` says why it is an estimate; empty if the upstream reported it."""

    usage: Usage
    note: str = ""


class Charge(msgspec.Struct, frozen=True):
    """What a call costs at the price of `model`, in nano-USD. `overrun_nano`: by how much that exceeds its hold."""

    usage: Usage
    model: str
    price_id: int | None
    cost_nano: NanoUSD
    upstream_cost_nano: NanoUSD
    saved_nano: NanoUSD
    overrun_nano: NanoUSD
    estimated: bool
    note: str


FREE = Judgement(Usage())


def judged(reading: UsageReading, parsed: ParsedRequest, lease: Lease, *, written: int) -> Judgement:
    """The usage of a complete answer. `written`: the output tokens to assume if its usage cannot be read."""
    usage = reading.usage
    if reading.problem:
        usage = Usage(
            input_tokens=prompt_tokens(parsed, lease), output_tokens=min(written, most_output(parsed, lease))
        )
        return Judgement(usage, reading.problem)
    notes = []
    prompt = usage.total_tokens - usage.output_tokens
    if not prompt:
        usage = msgspec.structs.replace(usage, input_tokens=prompt_tokens(parsed, lease))
        notes.append("no input usage reported")
    # After each search, the upstream reads the whole conversation again.
    window = lease.offer.candidate.model.context_window * (parsed.prompts + usage.web_searches)
    if prompt > window:
        usage = Usage(input_tokens=window, output_tokens=usage.output_tokens, web_searches=usage.web_searches)
        notes.append(f"{prompt} input tokens exceed the context window")
    most = most_output(parsed, lease) * (1 + usage.web_searches)
    if usage.output_tokens > most:
        notes.append(f"{usage.output_tokens} output tokens exceed the requested maximum")
        usage = msgspec.structs.replace(usage, output_tokens=most)
    return Judgement(usage, "; ".join(notes))


def judged_broken_off(
    reading: UsageReading, parsed: ParsedRequest, lease: Lease, *, written: int, why: str
) -> Judgement:
    """The usage of a stream that ended early, with at least `written` tokens of output; always an estimate."""
    judgement = judged(reading, parsed, lease, written=written)
    usage, note = judgement.usage, judgement.note
    written = min(written, most_output(parsed, lease))
    if usage.output_tokens < written:
        usage = msgspec.structs.replace(usage, output_tokens=written)
    return Judgement(usage, f"{why}; {note}" if note else why)


def judged_unanswered(parsed: ParsedRequest, lease: Lease, *, elapsed_ms: int, why: str) -> Judgement:
    """The estimated usage of a call that ended before anything came back: its prompt, and output by elapsed time."""
    written = int(elapsed_ms * FASTEST_TOKENS_PER_SECOND / 1000)
    usage = Usage(
        input_tokens=prompt_tokens(parsed, lease), output_tokens=min(written, most_output(parsed, lease))
    )
    return Judgement(usage, why)


def charged(
    judgement: Judgement, lease: Lease, prices: PriceBook, *, margin_percent: str, answered_by: str = ""
) -> Charge:
    """What the judged usage costs. `answered_by` is the model named in the answer. Raises ModelNotPriced."""
    usage, note = judgement.usage, judgement.note
    admitted = lease.offer.candidate.model
    served, unknown = admitted.name, ""
    if answered_by and answered_by not in (admitted.name, admitted.upstream_name):
        # Charge the model that served if the price list has it, else the admitted one.
        if prices.knows(answered_by):
            served = answered_by
        else:
            unknown = answered_by
    context = usage.total_tokens - usage.output_tokens
    price = prices.price_of(served, context=context)
    upstream_cost = cost(usage, price)
    if price.default and upstream_cost:
        note = "; ".join(filter(None, (note, "no price of its own: charged at the default price")))
    cost_nano = with_margin(upstream_cost, margin_percent)
    estimated = bool(note)
    if overrun := lease.overrun_nano(cost_nano):
        note = f"{OVERRAN} by {to_usd(overrun).normalize():f} USD" + (f"; {note}" if note else "")
    if unknown:
        # Nothing else in the ledger names an answering model that has no price.
        note = "; ".join(filter(None, (note, f"served by unknown model {unknown[:100]}")))
    saved_nano = NanoUSD(0)
    preferred = lease.event.model_preferred
    if preferred and Change.DOWNGRADED in lease.offer.candidate.route.changes:
        # How much more the same tokens of the preferred model would have cost.
        preferred_price = prices.price_of(preferred, context=context)
        saved_nano = NanoUSD(with_margin(cost(usage, preferred_price), margin_percent) - cost_nano)
    return Charge(
        usage=usage,
        model=served,
        price_id=price.id,
        cost_nano=cost_nano,
        upstream_cost_nano=upstream_cost,
        saved_nano=saved_nano,
        overrun_nano=overrun,
        estimated=estimated,
        note=note[:LONGEST_NOTE],
    )


def charged_as_held(lease: Lease) -> Charge:
    """The charge of a call that cannot be priced: what was held for it, as for a call whose process died."""
    return Charge(
        usage=Usage(output_tokens=lease.output_tokens),
        model=lease.offer.candidate.model.name,
        price_id=lease.offer.price_id,
        cost_nano=lease.hold_nano,
        upstream_cost_nano=lease.hold_nano,
        saved_nano=NanoUSD(0),
        overrun_nano=NanoUSD(0),
        estimated=True,
        note="could not be priced: charged the reserved amount",
    )


def prompt_tokens(parsed: ParsedRequest, lease: Lease) -> int:
    """An estimate of the prompt's tokens."""
    ask = parsed.ask
    estimate = -(-ask.text_bytes // BYTES_PER_TOKEN) + ask.media_tokens
    return max(1, min(estimate, lease.offer.candidate.model.context_window))


def most_output(parsed: ParsedRequest, lease: Lease) -> int:
    """The most output tokens that all answers of the call may have."""
    return lease.max_tokens * parsed.ask.answers
