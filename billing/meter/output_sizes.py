"""How long answers are, by tenant and model. A stream first holds for that many tokens, not for its `max_tokens`."""

from collections import OrderedDict

# Tokens to expect while nothing is known, and the bounds of what is learned.
UNKNOWN = 1024
LEAST, MOST = 256, 8192
# Once there are twice as many answers as this, all counts are halved.
HALF_LIFE = 200
MOST_PAIRS = 20_000
_BUCKETS = 18


class OutputSizes:
    """Histograms of answers' sizes by powers of two, for the `most_pairs` pairs of tenant and model used last."""

    def __init__(self, most_pairs: int = MOST_PAIRS) -> None:
        self._most_pairs = most_pairs
        self._counts: OrderedDict[tuple[int, str], list[float]] = OrderedDict()

    def learn(self, tenant_id: int, model: str, tokens: int) -> None:
        """Count one complete answer of `tokens`."""
        key = (tenant_id, model)
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = [0.0] * _BUCKETS
            if len(self._counts) > self._most_pairs:
                self._counts.popitem(last=False)
        self._counts.move_to_end(key)
        counts[min(_BUCKETS - 1, max(0, tokens - 1).bit_length())] += 1
        if sum(counts) > 2 * HALF_LIFE:
            counts[:] = [each / 2 for each in counts]

    def expected(self, tenant_id: int, model: str) -> int:
        """The tokens that 95 % of the answers do not exceed, rounded up to a power of two, from `LEAST` to `MOST`."""
        counts = self._counts.get((tenant_id, model))
        if counts is None:
            return UNKNOWN
        wanted, seen = sum(counts) * 0.95, 0.0
        for bucket, count in enumerate(counts):
            seen += count
            if seen >= wanted:
                return min(MOST, max(LEAST, 1 << bucket))
        return MOST
