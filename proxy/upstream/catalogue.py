"""Which upstreams a call may go to: EzAI first, then the rows staff added, by priority."""

import logging

import msgspec
from django.conf import settings

from gateway_project.ground.by_token import ByToken
from gateway_project.ground.database import Reader, ReportsUnavailable
from gateway_project.ground.secrets import UnreadableSecret, decrypt
from routing.models import Upstream

logger = logging.getLogger("tenantry.proxy")
EZAI = "ezai"


class UpstreamTarget(msgspec.Struct, frozen=True):
    """One upstream: its address, its key, and the callers' further headers that it may see."""

    name: str
    base_url: str
    api_key: str
    extra_headers: tuple[str, ...] = ()


Rows = tuple[tuple[UpstreamTarget, frozenset[str]], ...]


class UpstreamTargets:
    """The upstreams that calls may go to, read from PostgreSQL once for each policy token."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._rows = ByToken(_read)

    async def that_speak(self, wire: str, token: str) -> list[UpstreamTarget]:
        """The upstreams that speak `wire`, best first, as of the policy token `PolicyVersion.everyone`."""
        ezai = UpstreamTarget(
            EZAI, settings.EZAI_BASE_URL, settings.EZAI_API_KEY, settings.UPSTREAM_EXTRA_HEADERS
        )
        rows = self._rows.known(token)
        if rows is None:
            try:
                rows = await self._reader.read(lambda: self._rows.get(token))
            except ReportsUnavailable:
                # The call is admitted and EzAI is known, so missing spares are no reason to refuse it.
                logger.warning("The list of upstreams cannot be read; going on with EzAI alone")
                return [ezai]
        return [ezai, *(target for target, wires in rows if wire in wires)]


def _read(_: str) -> Rows:
    return tuple(read for row in Upstream.objects.filter(enabled=True) if (read := _target_of(row)))


def _target_of(row: Upstream) -> tuple[UpstreamTarget, frozenset[str]] | None:
    try:
        key = decrypt(row.api_key)
    except UnreadableSecret:
        logger.error("The key of upstream %s cannot be decrypted; it is left out", row.name)
        return None
    return UpstreamTarget(row.name, row.base_url.rstrip("/"), key), frozenset(row.wires)
