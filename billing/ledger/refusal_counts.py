"""Refused requests by reason, counted in memory and written to PostgreSQL once a second.

A refusal costs the hot path one addition, and nothing in Redis.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import msgspec
from django.db import DatabaseError, close_old_connections, connection
from django.db.models import Sum
from prometheus_client import Counter as Metric

from billing.meter.prepared_policy import PreparedPolicies
from billing.models import DailyVerdict
from tenants.policy import Policy

logger = logging.getLogger("tenantry.billing")
IN_SHADOW = Metric(
    "tenantry_shadow_verdicts", "Requests that what is in shadow would decide otherwise.", ["code"]
)


class RefusalCount(msgspec.Struct, frozen=True, order=True):
    """What is counted: a refusal, or with `shadow` what a policy in shadow would have done. Ordered, so that writers
    lock rows in one order.
    """

    tenant_id: int
    day: str
    shadow: bool
    code: str
    detail: str = ""


class VerdictSum(msgspec.Struct, frozen=True):
    """How many requests of some days had one verdict."""

    code: str
    detail: str
    shadow: bool
    requests: int


class RefusalCounts:
    """The counts of one process that are not written yet."""

    def __init__(self, policies: PreparedPolicies) -> None:
        self._policies = policies
        self._counts: Counter[RefusalCount] = Counter()
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="refusals")

    def refused(self, policy: Policy, code: str) -> None:
        """Count a refused request of this policy's tenant."""
        self._count(policy, in_shadow=False, code=code)

    def would_have(self, policy: Policy, code: str, detail: str = "") -> None:
        """Count a request that was served, and for which the policy in shadow would have decided otherwise."""
        self._count(policy, in_shadow=True, code=code, detail=detail[:100])
        IN_SHADOW.labels(code).inc()

    def _count(self, policy: Policy, *, in_shadow: bool, code: str, detail: str = "") -> None:
        _, day = self._policies.spans(policy)
        self._counts[RefusalCount(policy.tenant_id, day.name, in_shadow, code, detail)] += 1

    async def flush(self) -> None:
        """Write what was counted. While the database is away the counts stay, one for each tenant, day and code."""
        if not self._counts:
            return
        taken = dict(self._counts)
        self._counts.clear()
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, _write, taken)
        except DatabaseError as error:
            self._counts.update(taken)
            logger.warning("Refusals are counted and not written yet: %s", error)

    def close(self) -> None:
        """Start no more writes."""
        self._threads.shutdown(wait=False)


def sums(tenant_id: int, *, since: date, until: date | None = None) -> list[VerdictSum]:
    """The verdicts of a tenant's days, both ends included: refusals, then those in shadow, most frequent first."""
    rows = DailyVerdict.objects.filter(tenant_id=tenant_id, day__gte=since)
    if until is not None:
        rows = rows.filter(day__lte=until)
    totals = rows.values("code", "detail", "shadow").order_by().annotate(total=Sum("requests"))
    return [
        VerdictSum(code=row["code"], detail=row["detail"], shadow=row["shadow"], requests=row["total"])
        for row in totals.order_by("shadow", "-total", "code")
    ]


def _write(counts: dict[RefusalCount, int]) -> None:
    close_old_connections()
    try:
        rows = [(*msgspec.structs.astuple(verdict), count) for verdict, count in sorted(counts.items())]
        with connection.cursor() as cursor:
            cursor.execute(_ADD, _columns(rows))
    finally:
        close_old_connections()


def _columns(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


_ADD = """
INSERT INTO billing_dailyverdict AS total (tenant_id, day, shadow, code, detail, requests)
SELECT * FROM unnest(%s::bigint[], %s::date[], %s::boolean[], %s::text[], %s::text[], %s::bigint[])
ON CONFLICT (tenant_id, day, shadow, code, detail) DO UPDATE SET requests = total.requests + EXCLUDED.requests
"""
