"""What is held for one call. It grows with a stream, and moves to another model for a fallback."""

import msgspec

from billing.meter.admission import Admission
from billing.meter.lease import UNLIMITED, Lease, PricedCandidate
from billing.meter.meter import Meter

# A stream's hold is kept this many tokens ahead of what has passed, to pay for what the upstream writes before it
# notices that it was cut off. It grows by slices.
AHEAD_TOKENS = 128
SLICE_TOKENS = 2048


class Hold(msgspec.Struct, eq=False):
    """The lease of one call. `unseen`: output tokens that a model may think without showing, which are billed, too."""

    admission: Admission
    lease: Lease
    unseen: int

    def serve_by(self, offer: PricedCandidate) -> None:
        """Let another model serve than the admitted one. The lease must already hold enough for it."""
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
        """Whether the hold covers `tokens` of output and `AHEAD_TOKENS` more. Called for each piece of a stream."""
        lease = self.lease
        return tokens + self.unseen + AHEAD_TOKENS <= lease.output_tokens or lease.budgets == UNLIMITED

    async def covers(self, meter: Meter, tokens: int) -> None:
        """Extend the hold until it covers `tokens` of output, the unseen ones, and `AHEAD_TOKENS` more.

        Raises BudgetExceeded if a budget has no room for that, MeteringUnavailable if Redis is away.
        """
        lease = self.lease
        tokens += self.unseen
        while (
            more := lease.max_tokens - lease.output_tokens
        ) > 0 and tokens + AHEAD_TOKENS > lease.output_tokens:
            await meter.extend(
                lease, min(more, max(SLICE_TOKENS, tokens + AHEAD_TOKENS - lease.output_tokens))
            )
