"""Usage by tag: the roll-up agrees with the ledger, stays small, and answers without it."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import connection

from billing.demo.synthetic_usage import make_usage
from billing.events import UsageEvent
from billing.ledger import posting, tag_usage
from billing.ledger.posting import Entry
from billing.models import DailyTagUsage, ModelPrice, UsageRecord
from billing.request_ids import new_request_id
from billing.usage import Usage
from tests.factories import ApiKeyFactory, ModelFactory, ModelPriceFactory, TenantFactory, UsageRecordFactory

pytestmark = pytest.mark.django_db
DAY = "2026-01-15"


def an_entry(number=0, *, tags, cost=1_000, model="sonnet", tenant_id=7, day=DAY):
    event = UsageEvent(
        request_id=new_request_id(),
        tenant_id=tenant_id,
        key_id=None,
        day=day,
        period_start="2026-01-01",
        wire="anthropic",
        model=model,
        cost_nano=cost,
        usage=Usage(input_tokens=10, output_tokens=5, cache_read_tokens=1),
        tags=tags,
    )
    return Entry(id=f"1-{number}", event=event)


def summed(name, **span):
    since = datetime.fromisoformat(DAY).date()
    return {
        each.value: (each.requests, each.tokens, each.cost_usd)
        for each in tag_usage.by_value(7, name, since=span.get("since", since))
    }


def test_the_drain_adds_each_call_under_each_of_its_tags():
    posting.post(
        [an_entry(tags={"feature": "chat", "team": "a"}), an_entry(tags={"feature": "chat"})], shard=0
    )
    posting.post([an_entry(tags={"feature": "search"}, cost=5_000), an_entry(tags={})], shard=0)

    assert summed("feature") == {
        "search": (1, 16, Decimal("0.000005")),
        "chat": (2, 32, Decimal("0.000002")),
    }
    assert summed("team") == {"a": (1, 16, Decimal("0.000001"))}
    assert tag_usage.names(7, since=datetime.fromisoformat(DAY).date()) == ["feature", "team"]


def test_a_batch_posted_twice_counts_once():
    entries = [an_entry(tags={"feature": "chat"})]

    posting.post(entries, shard=0)
    posting.post(entries, shard=0)

    assert summed("feature")["chat"][0] == 1


def test_values_beyond_the_most_are_summed_as_others(monkeypatch):
    monkeypatch.setattr(tag_usage, "MOST_VALUES", 3)
    posting.post([an_entry(tags={"call": f"c{number}"}) for number in range(2)], shard=0)

    posting.post([an_entry(tags={"call": f"c{number}"}) for number in range(6)], shard=0)

    assert {value: calls for value, (calls, *_) in summed("call").items()} == {
        "c0": 2,
        "c1": 2,
        "c2": 1,
        tag_usage.OTHER: 3,
    }


def test_made_usage_is_rolled_up_by_tag_as_well():
    model = ModelFactory()
    ModelPriceFactory(model=model)
    assert ModelPrice.objects.exists()
    tenant = TenantFactory(models=[model])
    ApiKeyFactory(tenant=tenant)
    make_usage(
        [tenant], rows=50, since=datetime(2026, 1, 1, tzinfo=UTC), until=datetime(2026, 1, 5, tzinfo=UTC)
    )

    found = tag_usage.by_value(tenant.pk, "feature", since=datetime(2025, 12, 1, tzinfo=UTC).date())

    assert sum(each.requests for each in found) == 50
    assert sum(each.cost_usd for each in found) == sum(row.cost_usd for row in UsageRecord.objects.all())


def test_ledger_rows_are_found_by_tag_through_the_index():
    UsageRecordFactory(tags={"feature": "chat"})
    UsageRecordFactory(tags={"feature": "search"})
    UsageRecordFactory()

    rows = tag_usage.tagged(UsageRecord.objects.all(), "feature=chat")

    assert [row.tags for row in rows] == [{"feature": "chat"}]
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_indexscan = off")
    assert "_tags_idx" in rows.order_by().explain()


def test_a_days_rollup_is_one_row_for_each_value_and_model():
    posting.post([an_entry(tags={"f": "x"}), an_entry(tags={"f": "x"}, model="opus")], shard=0)

    assert DailyTagUsage.objects.count() == 2
