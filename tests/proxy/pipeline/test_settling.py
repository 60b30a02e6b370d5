"""Settling: once, and no lease is left behind whatever goes wrong."""

import pytest
from asgiref.sync import sync_to_async

from billing.meter.meter import Meter
from gateway_project.ground.redis_keys import tenant_key
from proxy.pipeline import settling, shadow, streaming, whole
from tests.factories import ApiKeyFactory, ModelFactory, ModelPriceFactory, TenantFactory, TierFactory
from tests.proxy.gateway import post, runtime
from tests.proxy.scripted_upstream import END, START, STOP, echo, message, raw, stream


async def test_a_call_that_cannot_be_priced_is_charged_its_hold_and_leaves_no_lease(
    world, upstream_answering, books
):
    def tenant_of_a_model_priced_for_long_prompts_alone():
        model = ModelFactory(name="long", max_output_tokens=64_000)
        ModelPriceFactory(model=model, context_over_tokens=5)
        return ApiKeyFactory(tenant=TenantFactory(tier=world.tenant.tier, models=[model])).plain

    key = await sync_to_async(tenant_of_a_model_priced_for_long_prompts_alone)()
    async with upstream_answering(echo(input_tokens=1, output_tokens=5)):
        answer = await post(key, model="long")
        seen = await books()

    assert answer.status == 200
    assert (seen.row.status, seen.row.estimated) == ("ok", True)
    assert seen.row.cost_usd > 0
    assert seen.row.note == "could not be priced: charged the reserved amount"
    assert not await runtime().meter.pipe.call("HLEN", f"{tenant_key(seen.row.tenant_id)}:leases")


def breaks(*_, **__):
    raise RuntimeError("a fault nobody thought of")


def once(real):
    """`real`, but for its first call."""
    calls = []

    def broken(*arguments, **options):
        calls.append(arguments)
        return breaks() if len(calls) == 1 else real(*arguments, **options)

    return broken


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (settling, "judged"),
        (settling, "charged"),
        (Meter, "post"),
        (whole, "passed_on"),
        (settling, "complete"),
        (shadow, "_refusal"),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
async def test_a_fault_anywhere_after_admission_leaves_no_lease(
    world, upstream_answering, books, monkeypatch, owner, name
):
    tried = await sync_to_async(TierFactory)(max_requests_per_minute=2)
    await sync_to_async(world.with_limits)(shadow_tier=tried)
    async with upstream_answering(raw(message())):
        monkeypatch.setattr(owner, name, once(getattr(owner, name)))
        await post(world.key)
        monkeypatch.undo()
        seen = await books()

    assert seen.reserved_usd == 0
    assert seen.balanced


async def test_a_fault_while_a_stream_is_begun_leaves_no_lease(world, upstream_answering, books, monkeypatch):
    async with upstream_answering(stream(START, END, STOP)):
        monkeypatch.setattr(streaming, "passed_on", breaks)
        answer = await post(world.key, stream=True)
        monkeypatch.undo()
        seen = await books()

    assert answer.status == 500
    assert (seen.row.status, seen.row.estimated) == ("cancelled", True)
    assert seen.reserved_usd == 0


async def test_settling_twice_charges_once(world, upstream_answering, books, monkeypatch):
    real = settling.complete

    def twice(admitted, reading, **options):
        real(admitted, reading, **options)
        settling.free(admitted, http_status=200)
        settling.unanswered(admitted)

    async with upstream_answering(raw(message())):
        monkeypatch.setattr(settling, "complete", twice)
        await post(world.key)
        seen = await books()

    assert (len(seen.rows), seen.row.status, seen.row.estimated) == (1, "ok", False)
    assert seen.reserved_usd == 0
