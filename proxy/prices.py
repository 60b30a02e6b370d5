"""The price list in force, for the event loop. It is read in a thread if it is not in memory."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from django.db import DatabaseError, close_old_connections

from billing.prices.price_book import PriceBook, known_price_book, price_book
from tenants.authentication import PolicyUnavailable
from tenants.policy import Policy


class Prices:
    """Reads price lists in threads of its own, so that a slow report never holds up a call."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="prices")

    async def of(self, policy: Policy) -> PriceBook:
        """The price list in force under `policy`. Raises PolicyUnavailable."""
        token = policy.version.everyone
        known = known_price_book(token)
        if known is not None:
            return known
        return await asyncio.get_running_loop().run_in_executor(self._threads, _read, token)

    def close(self) -> None:
        """Start no more reads."""
        self._threads.shutdown(wait=False)


def _read(token: str) -> PriceBook:
    close_old_connections()
    try:
        return price_book(token)
    except DatabaseError as error:
        raise PolicyUnavailable from error
    finally:
        close_old_connections()
