"""Queries of staff and tasks on a large ledger. `DATA_DIR=… python -m bench ledger` uses the installation there.

Without DATA_DIR one is made, with a million rows. Ten million take `manage.py make_usage` some ten minutes.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.servers import HOME, gateway, mock_upstream
from bench.table import Table

ROWS = 1_000_000
TENANTS = 300


@contextlib.contextmanager
def a_large_ledger(rows: int) -> Iterator[dict[str, str]]:
    """The environment of the installation at DATA_DIR, or of a new one with `rows` rows."""
    if "DATA_DIR" in os.environ:
        yield dict(os.environ)
        return
    with mock_upstream() as mock, gateway(mock) as ours:
        ours.keys(TENANTS)
        ours.ask(f"from django.core.management import call_command; call_command('make_usage', {rows})")
        yield ours.environment


def what_is_asked(seconds: float) -> list[Table]:
    with a_large_ledger(ROWS) as environment:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "bench.ledger"],
            cwd=HOME, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
    count, pages, questions = json.loads(done.stdout)
    header = ["", "first ms", "best of 5 ms", "of it SQL", "queries"]
    return [
        Table(f"Pages over {count:,} rows", header, pages),
        Table(f"Questions to roll-ups and books, {count:,} rows", header, questions),
    ]


def measure() -> None:
    """Time the queries on the installation in the environment, as a superuser made for this."""
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
    django.setup()
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.db.models import Count
    from django.test import Client

    from billing.models import PeriodUsage, UsageRecord
    from tenants.models import ApiKey
    from tenants.people.operators import rotate_token

    settings.ALLOWED_HOSTS = ["*"]
    user, _ = get_user_model().objects.get_or_create(
        username="bench", defaults={"is_staff": True, "is_superuser": True}
    )
    client = Client()
    client.force_login(user)
    token = f"Token {rotate_token(user)}"
    used = list(PeriodUsage.objects.values_list("tenant", flat=True).order_by("-requests")[:1])
    biggest = used[0]
    key = ApiKey.objects.filter(tenant=biggest).values_list("pk", flat=True)[0]
    row = UsageRecord.objects.filter(tenant=biggest).order_by("created_at")[0]
    day = row.created_at.date()
    admin, api = "/admin/billing/usagerecord/", "/api/usage/?page_size=100"
    of = f"tenant__id__exact={biggest}"
    dates = (
        f"created_at_from_0={day}&created_at_from_1=00:00:00&created_at_to_0={day}&created_at_to_1=23:59:59"
    )
    pages = {
        "ledger, newest": admin,
        "page 50": f"{admin}?p=50",
        "the biggest tenant": f"{admin}?{of}",
        "its busiest key": f"{admin}?api_key__id__exact={key}",
        "a model": f"{admin}?model={row.model}",
        "upstream errors": f"{admin}?status__exact=upstream_error",
        "orphaned (none)": f"{admin}?status__exact=orphaned",
        "estimated (none)": f"{admin}?estimated__exact=1",
        "a day long ago": f"{admin}?{dates}",
        "tenant and day": f"{admin}?{of}&{dates}",
        "tenant and model": f"{admin}?{of}&model={row.model}",
        "tenant and status (none)": f"{admin}?{of}&status__exact=orphaned",
        "an end user of a tenant": f"{admin}?{of}&end_user={row.end_user}",
        "an end user that is none": f"{admin}?{of}&end_user=nobody",
        "a request id": f"{admin}?q={row.pk}",
        "one row": f"{admin}{row.pk}/change/",
        "daily usage": "/admin/billing/dailyusage/",
        "daily usage, orphaned (none)": "/admin/billing/dailyusage/?status__exact=orphaned",
        "dashboard": "/admin/",
        "tenants": "/admin/tenants/tenant/",
        "API: a page of 100": api,
        "API: of a tenant": f"{api}&tenant={row.tenant.slug}",
        "API: by tag": f"{api}&tenant={row.tenant.slug}&tag=feature=none",
    }

    def get(address: str) -> Callable[[], Any]:
        headers = {"HTTP_AUTHORIZATION": token} if address.startswith("/api/") else {}
        return lambda: client.get(address, **headers)

    count = UsageRecord.objects.aggregate(count=Count("pk"))["count"]
    asked = [[name, *_timed(get(address))] for name, address in pages.items()]
    print(json.dumps([count, asked, [[name, *_timed(ask)] for name, ask in _questions(biggest).items()]]))


def _questions(tenant_id: int) -> dict[str, Callable[[], Any]]:
    from datetime import UTC, datetime, timedelta

    from django.db.models import Sum

    from billing.ledger.books import check_books
    from billing.models import DailyUsage
    from gateway_project.console import dashboard
    from gateway_project.console.daily_totals import daily_totals
    from tenants.models import Tenant

    today = datetime.now(UTC).date()
    mine = DailyUsage.objects.filter(tenant=tenant_id).order_by()
    tenants = list(Tenant.objects.all())
    [one] = [each for each in tenants if each.pk == tenant_id]
    return {
        "30 days of everyone, with percentiles": lambda: daily_totals(
            since=today - timedelta(days=30), until=today
        ),
        "tenants near their budget": lambda: dashboard._closest_to_their_budget(today),
        "top tenants": lambda: dashboard._top_tenants(today),
        "top models": lambda: dashboard._top_models(since=today.replace(day=1)),
        "a tenant's month by day": lambda: list(
            mine.filter(day__gte=today - timedelta(days=30)).values("day").annotate(usd=Sum("cost_usd"))
        ),
        "a tenant's year by period": lambda: list(mine.values("period_start").annotate(usd=Sum("cost_usd"))),
        "check_books, the biggest tenant": lambda: check_books([one]),
        f"check_books, all {len(tenants)}": lambda: check_books(tenants),
    }


def _timed(ask: Callable[[], Any]) -> list[float]:
    """The seconds of the first run, of the best of five, and of the SQL in the best; and its number of queries."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    runs = []
    for _ in range(6):
        with CaptureQueriesContext(connection) as captured:
            began = time.monotonic()
            ask()
            took = time.monotonic() - began
        runs.append((took * 1000, sum(float(each["time"]) for each in captured) * 1000, len(captured)))
    best = min(runs[1:])
    return [round(runs[0][0], 1), *(round(value, 1) for value in best)]


if __name__ == "__main__":
    measure()
