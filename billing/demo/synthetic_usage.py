"""Realistic usage for the demo and for measurements, made inside PostgreSQL and booked as the drain does.

Rows are priced by the price list to the nano-dollar and rolled up, so they pass `check_books`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q

from billing.ledger.chain import sealing, take_turn
from billing.ledger.histogram import BOUNDS_MS
from billing.ledger.partitions import make_partitions
from billing.ledger.roll_up import BUCKETS, KEYS, SUMS
from billing.models import ModelPrice
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import counter_patterns
from tenants.models import ApiKey, Tenant

# Calls are made in slices, to keep transactions small.
SLICE_ROWS = 250_000
_SEED = 0.42


def make_usage(
    tenants: Sequence[Tenant], *, rows: int, since: datetime, until: datetime, busiest_first: bool = True
) -> int:
    """Book `rows` calls of `tenants` from `since` until `until`. Returns how many were made.

    With `busiest_first`, earlier tenants get more. Every tenant needs a key and an allowed model with a price. Their
    counters in Redis are deleted, so that the next call rebuilds them.
    """
    month = since.astimezone(UTC).date().replace(day=1)
    months = (until.year - month.year) * 12 + until.month - month.month + 1
    make_partitions(first=month, months=months)
    _forget_counters(tenants)
    made, left = 0, rows
    with connection.cursor() as cursor:
        cursor.execute("SELECT setseed(%s)", [_SEED])
    span = (until - since) / max(1, -(-rows // SLICE_ROWS))
    begin = since
    while left > 0:
        count = min(SLICE_ROWS, left)
        with transaction.atomic():
            made += _slice(tenants, count=count, since=begin, until=begin + span, skewed=busiest_first)
        left -= count
        begin += span
    _forget_counters(tenants)
    return made


def _slice(tenants: Sequence[Tenant], *, count: int, since: datetime, until: datetime, skewed: bool) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_TABLES)
        _fill_tenants(cursor, tenants)
        power = 2.2 if skewed else 1.0
        named: dict[str, Any] = {
            "since": since,
            "seconds": (until - since).total_seconds(),
            "power": power,
            "count": count,
        }
        cursor.execute(_CALLS, named)
        cursor.execute(_BOOK)
        for shard in range(settings.METER_SHARDS):
            take_turn(cursor, shard)
            cursor.execute(_seal(), {"shard": shard, "shards": settings.METER_SHARDS})
        cursor.execute(_roll_up())
        cursor.execute(_TAGS)
        return count


def _fill_tenants(cursor: object, tenants: Sequence[Tenant]) -> None:
    """One line for each tenant, key and model, with the price of the model."""
    prices = {
        price.model_id: price
        for price in ModelPrice.objects.filter(
            Q(context_over_tokens=None) | Q(context_over_tokens=0), model__isnull=False
        ).order_by("effective_from")
    }
    keys: dict[int, list[int]] = {}
    for tenant_id, key_id in ApiKey.objects.filter(tenant__in=tenants).values_list("tenant_id", "pk"):
        keys.setdefault(tenant_id, []).append(key_id)
    allowed = Tenant.allowed_models.through.objects.filter(tenant__in=tenants, model__enabled=True)
    models: dict[int, list[tuple[int, str]]] = {}
    for tenant_id, model_id, name in allowed.order_by("model__name").values_list(
        "tenant_id", F("model_id"), F("model__name")
    ):
        if model_id in prices:
            models.setdefault(tenant_id, []).append((model_id, name))
    lines = [
        (number, tenant.pk, tenant.timezone, tenant.billing_day, keys[tenant.pk],
         [name for _, name in models[tenant.pk]])
        for number, tenant in enumerate(each for each in tenants if keys.get(each.pk) and models.get(each.pk))
    ]  # fmt: skip
    if not lines:
        raise ValueError("None of these tenants has both a key and a priced model. Add them first.")
    priced = {name: prices[model_id] for each in models.values() for model_id, name in each}
    with cursor.copy("COPY made_tenant FROM STDIN") as copy:  # type: ignore[attr-defined]  # psycopg's cursor
        for line in lines:
            copy.write_row(line)
    with cursor.copy("COPY made_price FROM STDIN") as copy:  # type: ignore[attr-defined]
        for name, price in priced.items():
            copy.write_row((name, price.pk, price.input_usd, price.output_usd, price.cache_read_usd))


_TABLES = """
DROP TABLE IF EXISTS made_tenant, made_price, made_call;
CREATE TEMP TABLE made_tenant (
    number int, tenant_id bigint, zone text, billing_day int, keys bigint[], models text[]) ON COMMIT DROP;
CREATE TEMP TABLE made_price (
    model text, price_id bigint, input_usd numeric, output_usd numeric, cache_read_usd numeric) ON COMMIT DROP;
"""
# Office hours are busier, weekends quieter: each time moves towards 14:00 of its day, and two in three on a weekend
# move to the Friday or Thursday before. Sizes have a long tail.
_CALLS = """
CREATE TEMP TABLE made_call ON COMMIT DROP AS
WITH even AS (
    SELECT n, %(since)s::timestamptz + interval '1 second' * (%(seconds)s * random()) AS moment,
           (random() + random() + random()) / 3 AS bell,
           floor(power(random(), %(power)s) * (SELECT count(*) FROM made_tenant))::int AS number,
           random() AS r1, random() AS r2, random() AS r3, random() AS r4, random() AS r5, random() AS r6
    FROM generate_series(1, %(count)s) n
), shaped AS (
    SELECT *, date_trunc('day', moment) + interval '22 hours' * (.1 + .9 * bell)
              - CASE WHEN extract(isodow FROM moment) > 5 AND r4 < .66 THEN interval '2 days' ELSE interval '0' END
              AS busy
    FROM even
), drawn AS (
    SELECT *, date_trunc('milliseconds', CASE
        WHEN busy BETWEEN %(since)s AND %(since)s::timestamptz + interval '1 second' * %(seconds)s THEN busy
        ELSE moment END) AS at
    FROM shaped
), placed AS (
    SELECT d.*, t.tenant_id, t.zone, t.billing_day,
           t.keys[1 + floor(r1 * cardinality(t.keys))::int] AS key_id,
           t.models[1 + floor(power(r2, 1.6) * cardinality(t.models))::int] AS model,
           CASE WHEN r3 < .985 THEN 'ok' WHEN r3 < .994 THEN 'upstream_error' ELSE 'cancelled' END AS status
    FROM drawn d JOIN made_tenant t ON t.number = d.number
)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' ||
        lpad(to_hex(floor(random() * 4096)::int), 3, '0') || to_hex(8 + floor(random() * 4)::int) ||
        substr(md5(random()::text || n), 1, 15))::uuid AS request_id,
       p.*, (at AT TIME ZONE zone)::date AS day, tenants_period_start(at, zone, billing_day) AS period_start,
       r4 < .6 AS stream, price.price_id,
       CASE WHEN status = 'upstream_error' THEN 0 ELSE floor(120 + 2400 * r5 * r5 + 30000 * power(r5, 9)) END::bigint
           AS input_tokens,
       CASE WHEN status = 'upstream_error' THEN 0 ELSE floor(20 + 700 * r6 * r6 + 3500 * power(r6, 8)) END::bigint
           AS output_tokens,
       CASE WHEN status = 'upstream_error' OR r4 > .3 THEN 0 ELSE floor(4000 * r6) END::bigint
           AS cache_read_tokens,
       price.input_usd, price.output_usd, price.cache_read_usd
FROM placed p JOIN made_price price ON price.model = p.model;
ALTER TABLE made_call ADD cost numeric, ADD latency int, ADD ttft int, ADD tags jsonb;
UPDATE made_call SET
    tags = jsonb_build_object('feature', (ARRAY['chat', 'search', 'summary'])[1 + floor(r2 * 3)::int]),
    cost = ceil((input_tokens * input_usd + output_tokens * output_usd + cache_read_tokens * cache_read_usd)
                * 1000) / 1000000000,
    latency = CASE WHEN status = 'ok' THEN 250 + output_tokens * 14 + (r1 * 400)::int END,
    ttft = CASE WHEN status = 'ok' THEN 180 + (r5 * r5 * 900)::int END;
"""
_BOOK = """
INSERT INTO billing_usagerecord (
    request_id, created_at, recorded_at, tenant_id, api_key_id, day, period_start, end_user, wire,
    model_requested, model, route, stream, status, http_status,
    input_tokens, output_tokens, cache_read_tokens, cost_usd, upstream_cost_usd, price_id, latency_ms, ttft_ms, tags)
SELECT request_id, at, at + interval '2 seconds', tenant_id, key_id, day, period_start,
       'user-' || floor(r6 * 40)::int, 'anthropic',
       model, model, CASE WHEN r1 < .2 THEN 'auto:simple' WHEN r1 < .3 THEN 'auto:complex' ELSE 'requested' END,
       stream, status, CASE status WHEN 'upstream_error' THEN 529 ELSE 200 END,
       input_tokens, output_tokens, cache_read_tokens, cost, cost, price_id, latency, ttft, tags
FROM made_call ORDER BY request_id
"""
_TAGS = """
INSERT INTO billing_dailytagusage AS total
    (tenant_id, name, day, value, model, requests, tokens, input_tokens, output_tokens, cost_usd)
SELECT tenant_id, tag.key, day, tag.value, model, count(*),
       sum(input_tokens + output_tokens + cache_read_tokens), sum(input_tokens), sum(output_tokens), sum(cost)
FROM made_call, jsonb_each_text(tags) tag
GROUP BY tenant_id, tag.key, day, tag.value, model
ORDER BY tenant_id, tag.key, day, tag.value, model
ON CONFLICT (tenant_id, name, day, value, model) DO UPDATE SET
    requests = total.requests + EXCLUDED.requests, tokens = total.tokens + EXCLUDED.tokens,
    input_tokens = total.input_tokens + EXCLUDED.input_tokens,
    output_tokens = total.output_tokens + EXCLUDED.output_tokens, cost_usd = total.cost_usd + EXCLUDED.cost_usd
"""


def _seal() -> str:
    """SQL that seals the rows of one shard as a batch of the hash chain."""
    return (
        "WITH made AS (SELECT record.* FROM made_call JOIN billing_usagerecord record "  # noqa: S608 - our own names
        "ON record.request_id = made_call.request_id AND record.created_at = made_call.at "
        f"WHERE made_call.tenant_id %% %(shards)s = %(shard)s), {sealing('made')} SELECT"
    )


def _roll_up() -> str:
    """SQL for the same sums and histograms as the drain's."""
    sums = {
        "requests": "count(*)", "estimated_requests": "0", "input_tokens": "sum(input_tokens)",
        "output_tokens": "sum(output_tokens)", "cache_read_tokens": "sum(cache_read_tokens)",
        "cache_write_5m_tokens": "0", "cache_write_1h_tokens": "0", "web_searches": "0",
        "downgraded_requests": "0", "downgraded_cost_usd": "0", "saved_usd": "0",
        "cost_usd": "sum(cost)", "upstream_cost_usd": "sum(cost)", "latency_ms_sum": "coalesce(sum(latency), 0)",
        "latency_count": "count(latency)", "ttft_ms_sum": "coalesce(sum(ttft), 0)", "ttft_count": "count(ttft)",
    }  # fmt: skip
    columns = {"latency_buckets": "latency", "ttft_buckets": "ttft"}
    keys = {name: {"api_key_id": "key_id"}.get(name, name) for name in KEYS}
    selected = [
        *keys.values(),
        *(sums[name] for name in SUMS),
        *(_histogram(columns[name]) for name in BUCKETS),
    ]
    added = [f"{name} = billing_dailyusage.{name} + excluded.{name}" for name in SUMS]
    added += [f"{name} = billing_add_counts(billing_dailyusage.{name}, excluded.{name})" for name in BUCKETS]
    return (
        f"INSERT INTO billing_dailyusage ({', '.join((*KEYS, *SUMS, *BUCKETS))}) "  # noqa: S608 - our own names
        f"SELECT {', '.join(selected)} FROM made_call GROUP BY {', '.join(keys.values())} "
        "ORDER BY tenant_id, day, key_id, model, status "
        f"ON CONFLICT (tenant_id, day, api_key_id, model, status, period_start) DO UPDATE SET {', '.join(added)}"
    )


def _histogram(column: str) -> str:
    edges = [0, *BOUNDS_MS]
    counts = [
        f"count(*) FILTER (WHERE {column} > {low} AND {column} <= {high})"
        for low, high in zip(edges, BOUNDS_MS, strict=False)
    ]
    counts.append(f"count(*) FILTER (WHERE {column} > {BOUNDS_MS[-1]})")
    return f"CASE WHEN count({column}) > 0 THEN ARRAY[{', '.join(counts)}]::bigint[] END"


def _forget_counters(tenants: Sequence[Tenant]) -> None:
    for tenant in tenants:
        for pattern in counter_patterns(tenant.pk):
            for name in store().scan_iter(pattern, count=1000):
                store().delete(name)


def months_before(moment: datetime, months: int) -> datetime:
    """The time `months` months of thirty days before `moment`."""
    return moment - timedelta(days=30 * months)
