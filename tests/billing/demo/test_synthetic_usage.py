"""Made usage is booked as real usage is."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Sum
from django.utils import timezone

from billing.demo.synthetic_usage import make_usage
from billing.ledger.books import check_books
from billing.models import DailyUsage, ModelPrice, UsageRecord
from billing.prices.price_book import _price, cost
from billing.usage import Usage
from tests.factories import ApiKeyFactory, ModelFactory, ModelPriceFactory, TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenants():
    model = ModelFactory()
    ModelPriceFactory(model=model)
    made = [TenantFactory(models=[model], timezone=zone) for zone in ("UTC", "Asia/Kolkata")]
    for tenant in made:
        ApiKeyFactory(tenant=tenant)
    return made


def test_its_books_agree_and_every_row_costs_what_the_price_list_says(tenants, redis_server):
    until = timezone.now()
    assert make_usage(tenants, rows=600, since=until - timedelta(days=60), until=until) == 600

    assert all(book.ok for book in check_books(tenants))
    assert UsageRecord.objects.count() == 600
    sums = {name: Sum(name) for name in ("requests", "cost_usd", "input_tokens", "latency_count")}
    rolled = DailyUsage.objects.aggregate(**sums)
    assert rolled["requests"] == 600
    assert rolled["cost_usd"] == UsageRecord.objects.aggregate(total=Sum("cost_usd"))["total"]
    price = _price(ModelPrice.objects.get())
    for row in UsageRecord.objects.all()[:50]:
        usage = Usage(
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            cache_read_tokens=row.cache_read_tokens,
        )
        assert row.cost_usd == Decimal(cost(usage, price)) / 1_000_000_000


def test_histograms_count_every_latency_once(tenants, redis_server):
    until = timezone.now()
    make_usage(tenants, rows=300, since=until - timedelta(days=3), until=until)
    for row in DailyUsage.objects.exclude(latency_buckets=None):
        assert sum(row.latency_buckets or []) == row.latency_count


def test_without_keys_or_prices_it_says_so(redis_server):
    TenantFactory()
    with pytest.raises(CommandError, match="both a key and a priced model"):
        call_command("make_usage", "10")
