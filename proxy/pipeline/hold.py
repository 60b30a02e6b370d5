"""What is held for one call: enough for what it may cost, more as a stream grows, and by whom it is served."""

import msgspec

from billing.meter.admission import Admission
from billing.meter.lease import UNLIMITED, Lease, PricedCandidate
from billing.meter.meter import Meter

# A stream's hold is kept this many tokens ahead of what has passed, and grows by slices: what the upstream
# wrote before it noticed that it was cut off is paid for by the former.
AHEAD_TOKENS = 128
SLICE_TOKENS = 2048


class Hold(msgspec.Struct, eq=False):
    """The lease of one call. `unseen`: tokens that may be thought and not shown, and are billed all the same."""

    admission: Admission
    lease: Lease
    unseen: int

    def serve_by(self, offer: PricedCandidate) -> None:
        """Another model than the one admitted serves; the lease holds enough for it already."""
        lease, candidate = self.lease, offer.candidate
        lease.offer = offer
        lease.max_tokens = min(lease.max_tokens, offer.max_tokens)
        lease.event = msgspec.structs.replace(
            lease.event,
            model=candidate.model.name,
            model_preferred=lease.event.model_preferred or lease.event.model,
            route=candidate.route.text,
            price_id=offer.price_id,
        )
        self.admission = msgspec.structs.replace(self.admission, route=candidate.route)

    def pays_for(self, tokens: int) -> bool:
        """Whether the hold pays for `tokens` of output and some ahead. Asked at each piece of a stream."""
        lease = self.lease
        return tokens + self.unseen + AHEAD_TOKENS <= lease.output_tokens or lease.budgets == UNLIMITED

    async def covers(self, meter: Meter, tokens: int) -> None:
        """Make sure that the hold pays for `tokens` of output, for what may be thought unseen, and some ahead.

        Raises BudgetExceeded when no budget has room for that, MeteringUnavailable when nobody can say.
        """
        lease = self.lease
        tokens += self.unseen
        while (
            more := lease.max_tokens - lease.output_tokens
        ) > 0 and tokens + AHEAD_TOKENS > lease.output_tokens:
            await meter.extend(
                lease, min(more, max(SLICE_TOKENS, tokens + AHEAD_TOKENS - lease.output_tokens))
            )
