"""An admitted call until it is settled: exactly once, whatever becomes of the task that serves it."""

import asyncio
import logging
from functools import partial
from itertools import chain, repeat

import msgspec

from billing import meter
from billing.events import OVERRAN
from billing.meter.admission import Admission
from billing.meter.errors import MeteringUnavailable
from billing.meter.lease import Lease, PricedCandidate
from billing.meter.output_sizes import sizes
from billing.meter.overruns import count_overrun
from billing.meter.settlement import CallOutcome
from billing.prices.price_book import PriceBook, cost, with_margin
from billing.usage import Usage
from gateway_project.ground.money import NanoUSD, to_usd
from proxy import telemetry, tracing
from proxy.background import keep, wait_for
from proxy.dialects.base import ParsedRequest, UsageReading
from proxy.pipeline.call import Call
from tenants.policy import DisconnectPolicy, Principal

logger = logging.getLogger("tenantry.proxy")

# What a model writes at most in a second: the estimate for a JSON call whose answer nobody waited for.
FASTEST_TOKENS_PER_SECOND = 80
# A stream's hold is kept this many tokens ahead of what has passed, and grows by slices: what the upstream
# wrote before it noticed that it was cut off is paid for by the former.
AHEAD_TOKENS = 128
SLICE_TOKENS = 2048
# Bytes of prompt a token covers at least, for estimates. (Prose, code and JSON: 2.5 to 5.)
BYTES_PER_TOKEN = 3
_NONE_KEPT = (None, None, None, None)
RETRY_SECONDS = (0.1, 0.3, 1, 3, 5)
_unsettled: dict[str, tuple[Lease, CallOutcome]] = {}


class Charge:
    """The lease of one call, what it may cost and what it did cost."""

    def __init__(
        self,
        *,
        call: Call,
        parsed: ParsedRequest,
        principal: Principal,
        prices: PriceBook,
        admission: Admission,
        billed: bool = True,
    ) -> None:
        self.call = call
        self.parsed = parsed
        self.principal = principal
        self.admission = admission
        self.lease: Lease = admission.lease
        self.cost_nano = NanoUSD(0)
        self.tokens = 0
        self.settled = False
        self.ttft_ms: int | None = None
        self.sent_ms: float | None = None
        self.asked = False  # an upstream may be at work for it
        self.upstream_request_id = ""
        self.prices = prices
        self.billed = billed
        self._unseen = parsed.ask.min_output_tokens - 1  # what may be thought and not shown

    @property
    def drains(self) -> bool:
        """Whether the call is read to its end although its caller has left."""
        return self.principal.policy.disconnect is DisconnectPolicy.DRAIN

    def serve_by(self, offer: PricedCandidate) -> None:
        """Another model than the one admitted serves; the lease holds enough for it already."""
        lease, candidate = self.lease, offer.candidate
        lease.offer = offer
        lease.max_tokens = min(lease.max_tokens, offer.max_tokens)
        lease.event = msgspec.structs.replace(
            lease.event,
            model=candidate.model.name,
            model_preferred=lease.event.model_preferred or lease.event.model,
            route=candidate.why,
            price_id=offer.price_id,
        )
        self.admission = msgspec.structs.replace(self.admission, route=candidate.why)

    def complete(self, reading: UsageReading, *, http_status: int, written: int) -> None:
        """Settle an answer that came to its end. `written`: tokens of output, where the answer is silent."""
        usage, note = self._trusted(reading, written=written)
        status = "cancelled" if self.call.client.left else "ok"
        self._settle(usage, status=status, http_status=http_status, model=reading.model, note=note)

    def broken_off(
        self, reading: UsageReading, *, http_status: int, written: int, status: str, note: str
    ) -> None:
        """Settle a stream that ended early at what is known of it; flagged as an estimate."""
        usage, doubt = self._trusted(reading, written=written)
        written = min(written, self._most_output())
        if usage.output_tokens < written:
            usage = msgspec.structs.replace(usage, output_tokens=written)
        note = f"{note}; {doubt}" if doubt else note
        self._settle(usage, status=status, http_status=http_status, model=reading.model, note=note)

    def unanswered(self) -> None:
        """Settle a call whose caller left before anything came back: prompt, and output by the clock.

        While it waited for its turn, or between two tries, nothing was at work for it, and it is free.
        """
        if not self.asked:
            self._settle(Usage(), status="cancelled", http_status=None)
            return
        written = int(self.call.elapsed_ms() * FASTEST_TOKENS_PER_SECOND / 1000)
        usage = Usage(input_tokens=self._prompt_tokens(), output_tokens=min(written, self._most_output()))
        note = f"{self.call.client.why_over} before the answer"
        self._settle(usage, status="cancelled", http_status=None, note=note)

    def free(self, *, http_status: int | None, status: str = "upstream_error", note: str = "") -> None:
        """Settle a call that the upstream did not serve. `note`: what is doubtful about that."""
        self._settle(Usage(), status=status, http_status=http_status, note=note)

    def pays_for(self, tokens: int) -> bool:
        """Whether the hold pays for `tokens` of output and some ahead. Asked at each piece of a stream."""
        lease = self.lease
        return tokens + self._unseen + AHEAD_TOKENS <= lease.output_tokens or lease.budgets == _NONE_KEPT

    async def covers(self, tokens: int) -> None:
        """Make sure that the hold pays for `tokens` of output, for what may be thought unseen, and some ahead.

        Raises BudgetExceeded when no budget has room for that, MeteringUnavailable when nobody can say.
        """
        lease = self.lease
        tokens += self._unseen
        while (
            more := lease.max_tokens - lease.output_tokens
        ) > 0 and tokens + AHEAD_TOKENS > lease.output_tokens:
            await meter.extend(
                lease, min(more, max(SLICE_TOKENS, tokens + AHEAD_TOKENS - lease.output_tokens))
            )

    async def written(self) -> None:
        """Return once the settling is on its way to Redis: only then may the answer's last bytes go."""
        await meter.pipe().sent()

    def _settle(
        self, usage: Usage, *, status: str, http_status: int | None, model: str = "", note: str = ""
    ) -> None:
        if self.settled:
            return
        self.settled = True
        if not self.billed:
            usage, note = Usage(), ""
        self.tokens = usage.total_tokens
        served = self._served(model)
        if status == "ok" and self.parsed.ask.stream:
            sizes.learn(self.lease.tenant_id, self.lease.offer.candidate.model.name, usage.output_tokens)
        context = usage.total_tokens - usage.output_tokens
        price = self.prices.price_of(served, context=context)
        upstream_cost = cost(usage, price)
        if price.default and upstream_cost:
            note = "; ".join(filter(None, (note, "no price of its own: charged at the default price")))
        self.cost_nano = with_margin(upstream_cost, self.principal.policy.margin_percent)
        estimated = bool(note)
        if overrun := self.lease.overrun_nano(self.cost_nano):
            # Posted all the same: what was used is owed. Staff see it on the dashboard.
            keep(count_overrun(meter.pipe(), self.lease, overrun))
            note = f"{OVERRAN} by {to_usd(overrun).normalize():f} USD" + (f"; {note}" if note else "")
        outcome = CallOutcome(
            usage=usage,
            cost_nano=self.cost_nano,
            upstream_cost_nano=upstream_cost,
            saved_nano=self._saved(usage, context=context),
            status=status,
            http_status=http_status,
            model=served,
            price_id=price.id,
            estimated=estimated,
            latency_ms=self.call.elapsed_ms(),
            ttft_ms=self.ttft_ms,
            upstream_request_id=self.upstream_request_id[:128],
            note=self._with_name(note, model)[:500],
        )
        sent = meter.post(self.lease, outcome, otherwise=partial(_keep_settling, self.lease, outcome))
        sent.add_done_callback(partial(self._count, outcome))
        wait_for(sent)

    def _count(self, outcome: CallOutcome, _: object) -> None:
        """When Redis has answered: the caller does not wait for what is only counted."""
        telemetry.settled(self.lease, outcome, tier=self.principal.policy.tier, sent_ms=self.sent_ms)
        tracing.settled(self.lease, outcome, self.call.headers)

    def _saved(self, usage: Usage, *, context: int) -> int:
        """What the same tokens of the first choice would have cost more; nothing where that served."""
        event = self.lease.event
        if not event.model_preferred or "downgraded" not in event.route:
            return 0
        price = self.prices.price_of(event.model_preferred, context=context)
        return with_margin(cost(usage, price), self.principal.policy.margin_percent) - self.cost_nano

    def _served(self, model: str) -> str:
        """The model to price: the one that served where the price list knows it, else the one admitted."""
        admitted = self.lease.offer.candidate.model
        if model and model not in (admitted.name, admitted.upstream_name) and self.prices.knows(model):
            return model
        return admitted.name

    def _with_name(self, note: str, model: str) -> str:
        """What the ledger would not know otherwise: an answer in the name of a model nobody has a price for."""
        admitted = self.lease.offer.candidate.model
        if not model or model in (admitted.name, admitted.upstream_name) or self.prices.knows(model):
            return note
        return "; ".join(filter(None, (note, f"answered as {model[:100]}")))

    def _trusted(self, reading: UsageReading, *, written: int) -> tuple[Usage, str]:
        """Usage to charge for, and why it is not simply what the upstream said (empty: it is)."""
        usage = reading.usage
        if reading.problem:
            usage = Usage(input_tokens=self._prompt_tokens(), output_tokens=min(written, self._most_output()))
            return usage, reading.problem
        notes = []
        prompt = usage.total_tokens - usage.output_tokens
        if not prompt:
            usage = msgspec.structs.replace(usage, input_tokens=self._prompt_tokens())
            notes.append("no input usage")
        # Each search the upstream makes by itself reads the whole conversation once more.
        window = self.lease.offer.candidate.model.context_window * (self.parsed.prompts + usage.web_searches)
        if prompt > window:
            usage = Usage(
                input_tokens=window, output_tokens=usage.output_tokens, web_searches=usage.web_searches
            )
            notes.append(f"{prompt} input tokens are more than fit")
        most = self._most_output() * (1 + usage.web_searches)
        if usage.output_tokens > most:
            notes.append(f"{usage.output_tokens} output tokens are more than were asked for")
            usage = msgspec.structs.replace(usage, output_tokens=most)
        return usage, "; ".join(notes)

    def _prompt_tokens(self) -> int:
        """An estimate of the prompt, where nothing better is known."""
        ask = self.parsed.ask
        estimate = -(-ask.text_bytes // BYTES_PER_TOKEN) + ask.media_tokens
        return max(1, min(estimate, self.lease.offer.candidate.model.context_window))

    def _most_output(self) -> int:
        return self.lease.max_tokens * self.parsed.ask.answers


def unsettled() -> list[tuple[Lease, CallOutcome]]:
    """What Redis has not taken yet, for the end of the process."""
    return list(_unsettled.values())


def _keep_settling(lease: Lease, outcome: CallOutcome) -> None:
    _unsettled[lease.request_id] = (lease, outcome)
    keep(_settle(lease, outcome))


async def _settle(lease: Lease, outcome: CallOutcome) -> None:
    """Settle, and try again while Redis is away: settling is idempotent. The reaper is for the dead only."""
    for seconds in chain(RETRY_SECONDS, repeat(RETRY_SECONDS[-1])):
        try:
            await meter.settle(lease, outcome)
        except MeteringUnavailable:
            await asyncio.sleep(seconds)
        else:
            del _unsettled[lease.request_id]
            return
