"""A wrong price is corrected by adjustments: looked at first, booked once, the ledger left as it is."""

import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.urls import reverse

from billing.models import Adjustment, Statement, UsageRecord
from billing.prices.repricing import BadRepricing, RepricingAsked, book_repricing, preview
from billing.statements.closing import close_due
from tests.factories import ModelFactory, ModelPriceFactory, TenantFactory, UsageRecordFactory, UserFactory

pytestmark = pytest.mark.django_db
NEXT = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
FIRST = (NEXT - timedelta(days=1)).date().replace(day=1)  # of the month before this one
LAST = FIRST.replace(day=10)
MILLION = 1_000_000


@pytest.fixture
def sonnet():
    return ModelFactory(name="sonnet", aliases=["sonnet-latest"])


@pytest.fixture
def right(sonnet):
    """Calls were booked at 30 in, 150 out; this is what they should have cost."""
    ModelPriceFactory(model=sonnet, effective_from=NEXT - timedelta(days=90), input_usd=30, output_usd=150)
    return ModelPriceFactory(model=sonnet, effective_from=NEXT)


@pytest.fixture
def tenant(redis_server):
    return TenantFactory(slug="acme")


def called(tenant, day, *, usd=30, model="sonnet", **values):
    """A call of a million tokens of input."""
    counts = {"input_tokens": MILLION, "output_tokens": 0, "api_key": None, **values}
    at = datetime(FIRST.year, FIRST.month, day, 12, tzinfo=UTC)
    return UsageRecordFactory(tenant=tenant, at=at, model=model, cost_usd=Decimal(usd), **counts)


def asked(model, price, **values):
    return RepricingAsked(model=model, price=price, **{"since": FIRST, "until": LAST, **values})


def amounts():
    return list(Adjustment.objects.order_by("pk").values_list("amount_usd", flat=True))


def test_a_look_says_what_would_be_booked_and_books_nothing(sonnet, right, tenant):
    called(tenant, 1)
    called(tenant, 10, model="sonnet-latest")
    called(tenant, 11)  # a day later
    called(tenant, 5, model="opus")

    [line] = preview(asked(sonnet, right)).lines

    assert line.calls == 2
    assert [line.booked_usd, line.priced_usd, line.difference_usd] == [60, 6, -54]
    assert sorted(line.days) == [str(FIRST), str(LAST)]
    assert amounts() == []


def test_the_difference_is_booked_once_and_the_ledger_stays(sonnet, right, tenant):
    called(tenant, 1)
    before = list(UsageRecord.objects.values())

    [booked] = book_repricing(asked(sonnet, right), reason="Sonnet was entered in cents")

    assert book_repricing(asked(sonnet, right), reason="again") == []
    assert (booked.kind, booked.period_start) == ("correction", FIRST)
    assert booked.amount_usd == -27
    assert list(UsageRecord.objects.values()) == before


def test_days_that_overlap_with_an_earlier_run_are_not_corrected_twice(sonnet, right, tenant):
    for day in (1, 5, 9):
        called(tenant, day)
    book_repricing(asked(sonnet, right, until=FIRST.replace(day=5)), reason="first")
    book_repricing(asked(sonnet, right, since=FIRST.replace(day=4)), reason="second")
    assert amounts() == [-54, -27]


def test_a_row_that_came_late_is_corrected_by_the_next_run(sonnet, right, tenant):
    called(tenant, 1)
    book_repricing(asked(sonnet, right), reason="first")
    called(tenant, 1)
    book_repricing(asked(sonnet, right), reason="second")
    assert amounts() == [-27, -27]


def test_a_second_correction_starts_from_the_first(sonnet, right, tenant):
    called(tenant, 1)
    book_repricing(asked(sonnet, right), reason="to 3")
    four = ModelPriceFactory(model=sonnet, effective_from=NEXT + timedelta(days=1), input_usd=4)
    book_repricing(asked(sonnet, four), reason="to 4")
    assert amounts() == [-27, 1]


def test_the_margin_of_the_call_is_kept(sonnet, right, tenant):
    called(tenant, 1, usd=36, upstream_cost_usd=Decimal(30))
    tenant.margin_percent = Decimal(50)  # since then
    tenant.save()

    [booked] = book_repricing(asked(sonnet, right), reason="x")

    assert booked.amount_usd == Decimal("3.6") - 36
    assert booked.details["reprice"]["days"][str(FIRST)]["upstream_usd"] == "-27.000000000"


def test_a_call_that_was_given_away_gets_the_margin_of_today(sonnet, right, tenant):
    tenant.margin_percent = Decimal(10)
    tenant.save()
    called(tenant, 1, usd=0)
    [booked] = book_repricing(asked(sonnet, right), reason="x")
    assert booked.amount_usd == Decimal("3.3")


def test_long_inputs_get_the_context_tier_of_the_same_price(sonnet, right, tenant):
    ModelPriceFactory(
        model=sonnet,
        effective_from=right.effective_from,
        context_over_tokens=200_000,
        input_usd=6,
        output_usd=1,
    )
    called(tenant, 1)
    [line] = preview(asked(sonnet, right)).lines
    assert line.priced_usd == 6


def test_without_a_price_named_the_list_of_each_calls_time_is_used(sonnet, right, tenant):
    called(tenant, 1, usd=3)
    [line] = preview(asked(sonnet, None)).lines
    assert line.priced_usd == 30


def test_calls_of_dead_processes_stay_at_what_was_reserved(sonnet, right, tenant):
    called(tenant, 1, status="orphaned", estimated=True)
    repricing = preview(asked(sonnet, right))
    assert (repricing.lines, repricing.orphaned) == ([], 1)


def test_each_tenant_and_period_has_its_own_correction(sonnet, right, tenant):
    other = TenantFactory()
    called(tenant, 3)
    called(tenant, 4, period_start=FIRST.replace(day=4))
    called(other, 3)

    booked = book_repricing(asked(sonnet, right), reason="x")

    assert [(each.tenant, each.period_start.day) for each in booked] == [(tenant, 1), (tenant, 4), (other, 1)]
    assert book_repricing(asked(sonnet, right, tenant=other), reason="x") == []


def test_a_correction_of_a_closed_month_is_on_the_next_statement(sonnet, right, tenant):
    type(tenant).objects.filter(pk=tenant.pk).update(
        created_at=datetime(FIRST.year, FIRST.month, 1, tzinfo=UTC)
    )
    called(tenant, 1, recorded_at=datetime(FIRST.year, FIRST.month, 1, 13, tzinfo=UTC))
    close_due(NEXT + timedelta(hours=1))
    book_repricing(asked(sonnet, right), reason="Sonnet was entered in cents")
    close_due(datetime.now(UTC) + timedelta(days=40))

    before, after = Statement.objects.order_by("period_start")[:2]
    assert [before.total_usd, after.total_usd] == [30, -27]
    assert after.adjustment_lines[0]["reason"] == "Sonnet was entered in cents"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"until": FIRST - timedelta(days=1)}, "before the first"),
        ({"until": date(2099, 1, 1)}, "in the future"),
    ],
)
def test_days_that_make_no_sense_are_refused(sonnet, right, wrong, told):
    with pytest.raises(BadRepricing, match=told):
        preview(asked(sonnet, right, **wrong))


def test_the_price_of_another_model_is_refused(sonnet, right):
    with pytest.raises(BadRepricing, match="does not belong to"):
        preview(asked(ModelFactory(), right))


def run(*arguments):
    out = io.StringIO()
    call_command("reprice", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_looks_first_and_books_on_demand(sonnet, right, tenant):
    called(tenant, 1)
    arguments = ("sonnet", "--since", str(FIRST), "--until", str(LAST), "--price", str(right.pk))

    shown = run(*arguments)
    assert "difference -27.000000000" in shown
    assert "Nothing booked" in shown
    assert "1 corrections booked" in run(*arguments, "--apply")
    assert "0 corrections booked" in run(*arguments, "--apply")
    with pytest.raises(CommandError, match="no model 'opus'"):
        run("opus", *arguments[1:])


def test_finance_looks_and_books_from_the_prices_page(sonnet, right, tenant, client):
    called(tenant, 1)
    finance = UserFactory(is_staff=True)
    finance.groups.add(Group.objects.get(name="Finance"))
    client.force_login(finance)
    page = reverse("admin:billing_modelprice_reprice", args=[right.pk])
    form = {"model": sonnet.pk, "since": str(FIRST), "until": str(LAST), "reason": "In cents"}

    looked = client.post(page, form).content.decode()
    assert "-$27.00" in looked
    assert amounts() == []
    assert client.post(page, {**form, "book": "1"}).status_code == 302

    adjustment = Adjustment.objects.get()
    assert (adjustment.reason, adjustment.created_by) == ("In cents", finance)
    assert adjustment.amount_usd == -27


def test_support_cannot_book(right, client):
    support = UserFactory(is_staff=True)
    support.groups.add(Group.objects.get(name="Support"))
    client.force_login(support)
    page = reverse("admin:billing_modelprice_reprice", args=[right.pk])
    assert client.get(page).status_code == 403
