"""When cheaper models serve: from a threshold on, without flapping, and not in the middle of a conversation."""

import pytest

from billing.meter.errors import BudgetExceeded
from billing.meter.lease import RequestMetadata
from billing.request_ids import new_request_id
from tests.billing.meter.test_admission import CHEAP, DOLLAR, a_principal, an_offer, costing, ready, settled
from tests.meters import meter

pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["ready"]  # the fixture
BUDGET = {"monthly_budget_nano": DOLLAR, "downgrade_percent": 90, "downgrade_release_percent": 80}


def ladder(**options):
    return [an_offer(skip=90, hold=1, **options), an_offer(CHEAP, hold=1, **options)]


async def served(principal, *offers, session="", opening="", only_ask=False):
    metadata = RequestMetadata("anthropic", "sonnet", False, session=session, opening=opening)
    offers = offers or ladder()
    if only_ask:
        admission = await meter().would_admit(principal, offers, metadata=metadata)
    else:
        admission = await meter().admit(principal, offers, request_id=new_request_id(), metadata=metadata)
        await meter().settle(admission.lease, costing(0))
    return admission.lease.event.model


def percent(number):
    return number * DOLLAR // 100


async def test_below_the_threshold_what_is_asked_for_serves(ready):
    principal = a_principal(**BUDGET)
    await settled(principal, percent(90) - 1)

    assert await served(principal) == "sonnet"


async def test_a_raised_budget_does_not_make_it_flap(ready):
    principal = a_principal(**BUDGET)
    await settled(principal, percent(90))
    assert await served(principal) == "haiku"

    raised = a_principal(**{**BUDGET, "monthly_budget_nano": DOLLAR * 110 // 100})  # 81.8 % of it is spent

    assert await served(raised) == "haiku"


async def test_below_the_release_threshold_what_is_asked_for_serves_again_and_the_latch_is_open(ready):
    principal = a_principal(**BUDGET)
    await settled(principal, percent(90))
    await served(principal)

    raised = a_principal(**{**BUDGET, "monthly_budget_nano": 2 * DOLLAR})

    assert await served(raised) == "sonnet"
    await settled(raised, percent(80))  # 85 %: between the two thresholds
    assert await served(raised) == "sonnet"


async def test_a_prepaid_balance_counts_from_its_last_top_up(ready):
    # Ten dollars were topped up in all, two of them are left after the last top-up to three.
    principal = a_principal(
        monthly_budget_nano=10 * DOLLAR,
        budget_mode="prepaid",
        alerts_below_nano=3 * DOLLAR,
        downgrade_release_percent=80,
    )
    await settled(principal, 8 * DOLLAR)
    assert await served(principal) == "sonnet"

    await settled(principal, 17 * DOLLAR // 10)

    assert await served(principal) == "haiku"


@pytest.mark.parametrize("named", [{"session": "s1"}, {"opening": "You are a pirate"}])
async def test_a_conversation_stays_with_its_model_past_the_threshold(ready, named):
    principal = a_principal(**BUDGET)
    await settled(principal, percent(85))
    assert await served(principal, **named) == "sonnet"

    await settled(principal, percent(6))

    assert await served(principal, **named) == "sonnet"
    assert await served(principal, session="another") == "haiku"


async def test_a_conversation_that_was_downgraded_stays_so(ready):
    principal = a_principal(**BUDGET)
    await settled(principal, percent(90))
    assert await served(principal, session="s1") == "haiku"
    ready.hdel(ready.keys("{s3}:t:7:b:*")[0], "saving")
    released = a_principal(**{**BUDGET, "monthly_budget_nano": DOLLAR * 105 // 100})

    assert await served(released) == "sonnet"
    assert await served(released, session="s1") == "haiku"


async def test_a_conversation_is_let_go_after_an_hour(ready):
    principal = a_principal(**BUDGET)
    await settled(principal, percent(85))
    await served(principal, session="s1")

    [name] = ready.keys("{s3}:t:7:c:*")

    assert 3500 < ready.ttl(name) <= 3600


async def test_far_from_the_threshold_no_conversation_is_kept(ready):
    await served(a_principal(**BUDGET), session="s1")

    assert ready.keys("{s3}:t:7:c:*") == []


async def test_a_conversation_gives_way_where_the_budget_has_no_room(ready):
    principal = a_principal(**BUDGET)
    await settled(principal, percent(85))
    await served(principal, session="s1")

    dear, cheap = an_offer(skip=90, hold=percent(20)), an_offer(CHEAP, hold=1)

    assert await served(principal, dear, cheap, session="s1") == "haiku"


async def test_who_declines_a_cheaper_model_is_refused_where_one_is_due(ready):
    principal = a_principal(**BUDGET)
    await settled(principal, percent(90))

    with pytest.raises(BudgetExceeded, match="remove the x-tenantry-no-downgrade header") as refusal:
        await served(principal, an_offer(skip=90, hold=1))

    assert refusal.value.details["scope"] == "tenant"


async def test_who_declines_a_cheaper_model_is_not_clamped_instead(ready):
    principal = a_principal(**BUDGET)
    await settled(principal, percent(95))

    with pytest.raises(BudgetExceeded, match="remove the x-tenantry-no-downgrade header"):
        await served(principal, an_offer(skip=90, per_token=percent(1), max_tokens=100))


async def test_asking_writes_nothing(ready):
    principal = a_principal(**BUDGET, requests_per_minute=10)
    await settled(principal, percent(90))
    before = {key: ready.dump(key) for key in ready.scan_iter()}

    assert await served(principal, session="s1", only_ask=True) == "haiku"

    assert {key: ready.dump(key) for key in ready.scan_iter()} == before
    assert not list(meter().journal.leases(3))
