"""What one upstream call used, in the ledger's token kinds, whatever the wire format calls them.

`Usage` is the one definition of these kinds. Ledger, roll-ups, statements and exports have a column for each field,
with its name, and derive their lists from here.
"""

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


# The columns that count: tokens by kind, and web searches.
COUNTS = Usage.__struct_fields__
TOKENS = tuple(name for name in COUNTS if name.endswith("_tokens"))
CACHE_WRITES = tuple(name for name in TOKENS if name.startswith("cache_write_"))
# Each column's price: a field of `price_book.Price`, and a column `<field>_usd` of `ModelPrice`.
PRICE_OF = {name: name.removesuffix("_tokens") for name in TOKENS} | {"web_searches": "web_search"}
