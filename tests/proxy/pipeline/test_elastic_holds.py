"""Streams hold for what they are likely to write, and for more while they write it."""

import asyncio
import json
import os
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from billing.meter.output_sizes import LEAST, MOST, UNKNOWN, OutputSizes
from tests.proxy.gateway import caller, post
from tests.proxy.scripted_upstream import START, STOP, event, stream

pytestmark = pytest.mark.django_db(transaction=True)
LONG = {"stream": True, "max_tokens": 32_000}


def delta(tokens):
    """A delta of `tokens` tokens, at four bytes each."""
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": "word" * tokens})


def end(tokens):
    return event("message_delta", usage={"output_tokens": tokens}, delta={"stop_reason": "end_turn"}) + STOP


async def test_twenty_streams_that_may_write_32000_tokens_and_write_300_fit_into_5_dollars(
    world, upstream_answering, books
):
    await sync_to_async(world.with_limits)(monthly_budget_usd=Decimal(5))
    async with upstream_answering(stream(START, 0.2, delta(300), 0.2, end(300))):
        answers = await asyncio.gather(*(post(world.key, **LONG) for _ in range(20)))
        seen = await books()

    assert [answer.status for answer in answers] == [200] * 20
    assert all(answer.body.endswith(STOP) for answer in answers)
    assert sum(row.cost_usd for row in seen.rows) == 20 * Decimal("0.0075")
    assert seen.reserved_usd == 0
    assert seen.balanced


async def test_streams_that_do_write_that_much_are_cut_before_the_budget_is_passed(
    world, upstream_answering, books
):
    await sync_to_async(world.with_limits)(monthly_budget_usd=Decimal("0.5"))
    written = [part for _ in range(64) for part in (delta(500), 0.01)]
    async with upstream_answering(stream(START, *written, end(32_000))):
        answers = await asyncio.gather(*(post(world.key, **LONG) for _ in range(5)))
        seen = await books()

    cut = [answer for answer in answers if not answer.body.endswith(STOP)]
    errors = [json.loads(answer.body.rpartition(b"data: ")[2])["error"] for answer in cut]
    assert len(cut) == 5
    assert {(error["code"], error["scope"]) for error in errors} == {("budget_exceeded", "tenant")}
    spent = sum(row.cost_usd for row in seen.rows)
    assert Decimal("0.25") <= spent <= Decimal("0.5")
    assert {(row.status, row.estimated) for row in seen.rows} == {("cancelled", True)}
    assert seen.reserved_usd == 0
    assert seen.balanced


@pytest.mark.skipif(os.environ.get("TEST_REDIS") == "cluster", reason="counts what one server was asked")
async def test_a_stream_holds_more_only_when_a_slice_is_used_up(world, upstream_answering, redis_server):
    await sync_to_async(world.with_limits)(monthly_budget_usd=Decimal(5))
    written = [part for _ in range(60) for part in (delta(50), 0.005)]
    async with upstream_answering(stream(START, *written, end(3000))):
        await post(world.key, **LONG)  # counters and scripts are there now
        redis_server.config_resetstat()
        answer = await post(world.key, **LONG)

    calls = redis_server.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert answer.body.endswith(STOP)
    assert (
        calls <= 2 + 3
    )  # admit, settle, and three slices of 2,048 tokens: 12,000 bytes are held for as 6,000


async def test_an_end_users_budget_cuts_a_stream_as_well(world, upstream_answering, books):
    await sync_to_async(world.with_limits)(user_monthly_budget_usd=Decimal("0.05"))
    written = [part for _ in range(64) for part in (delta(100), 0.005)]
    async with upstream_answering(stream(START, *written, end(6400))):
        answer = await post(world.key, **LONG, metadata={"user_id": "ann"})
        seen = await books()

    error = json.loads(answer.body.rpartition(b"data: ")[2])["error"]
    assert (error["code"], error["scope"]) == ("budget_exceeded", "user")
    assert seen.row.cost_usd <= Decimal("0.05")


async def test_without_a_budget_nothing_is_asked_and_nothing_cut(world, upstream_answering, books):
    world.tenant.tier.monthly_budget_usd = None
    await sync_to_async(world.tenant.tier.save)()
    async with upstream_answering(stream(START, delta(20_000), end(20_000))):
        answer = await post(world.key, **LONG)
        seen = await books()

    assert answer.body.endswith(STOP)
    assert seen.row.output_tokens == 20_000


async def test_a_flush_in_mid_stream_cuts_it_rather_than_let_it_run_unreserved(
    world, upstream_answering, books, redis_server, monkeypatch
):
    monkeypatch.setattr("proxy.pipeline.streaming.PATIENCE_SECONDS", (0.01,))
    await sync_to_async(world.with_limits)(monthly_budget_usd=Decimal(5))
    async with upstream_answering(stream(START, delta(10), 0.5, delta(4000), 0.3, delta(10), end(4020))):
        calling = caller(world.key, stream=True, max_tokens=32_000)
        answering = asyncio.create_task(calling.call())
        await calling.piece_came.wait()
        for name in redis_server.scan_iter("*:leases"):
            redis_server.delete(name)
        answer = await answering
        seen = await books()

    assert json.loads(answer.body.rpartition(b"data: ")[2])["error"]["code"] == "metering_unavailable"
    assert (seen.row.status, seen.row.estimated) == ("cancelled", True)


def test_an_unknown_tenant_starts_with_a_guess():
    assert OutputSizes().expected(1, "sonnet") == UNKNOWN


def test_the_size_that_95_of_100_answers_stay_below_is_expected():
    sizes = OutputSizes()
    for _ in range(95):
        sizes.learn(1, "sonnet", 300)
    for _ in range(5):
        sizes.learn(1, "sonnet", 9000)

    assert sizes.expected(1, "sonnet") == 512
    sizes.learn(1, "sonnet", 9000)
    assert sizes.expected(1, "sonnet") == MOST


def test_what_is_learned_is_bounded_and_forgets_the_oldest():
    sizes = OutputSizes(most_pairs=2)
    for tenant in (1, 2, 3):
        sizes.learn(tenant, "sonnet", 1)

    assert sizes.expected(3, "sonnet") == LEAST
    assert sizes.expected(1, "sonnet") == UNKNOWN


def test_old_answers_fade():
    sizes = OutputSizes()
    for _ in range(300):
        sizes.learn(1, "sonnet", 5000)
    for _ in range(3000):
        sizes.learn(1, "sonnet", 100)

    assert sizes.expected(1, "sonnet") == LEAST
