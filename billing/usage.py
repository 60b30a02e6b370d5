"""What one upstream call used, in the ledger's token kinds, whatever the wire format called them."""

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Token counts of one call. `input_tokens` excludes every cache token."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    web_searches: int = 0

    @property
    def total_tokens(self) -> int:
        return (
            self.input_tokens
            + self.output_tokens
            + self.cache_read_tokens
            + self.cache_write_5m_tokens
            + self.cache_write_1h_tokens
        )
