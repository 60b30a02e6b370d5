"""Embeddings: a third dialect in front of the same pipeline."""

import json
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError

from proxy.dialects import dialect_of
from proxy.errors import InvalidRequest
from tests.factories import ModelFactory, ModelPriceFactory
from tests.proxy.gateway import post
from tests.proxy.scripted_upstream import raw

EMBEDDINGS = dialect_of("/v1/embeddings", {})
BODY = {"model": "embed-small", "input": "hello"}


def parse(**changes):
    body = {name: value for name, value in {**BODY, **changes}.items() if value is not ...}
    return EMBEDDINGS.parse(json.dumps(body).encode(), {"x-tenantry-tags": "team=a"})


@pytest.mark.parametrize(
    ("texts", "prompts"), [("one", 1), (["one"], 1), (["one", "two"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)]
)
def test_every_form_of_input_is_understood(texts, prompts):
    parsed = parse(input=texts, user="ann")

    assert parsed.prompts == prompts
    assert (parsed.ask.end_user, parsed.tags) == ("ann", {"team": "a"})
    assert parsed.ask.input_bound_tokens >= 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"input": ...}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"model": ...}, "model"),
        ({"model": "auto"}, "model"),
    ],
)
def test_a_wrong_field_is_named(change, field):
    with pytest.raises(InvalidRequest) as refusal:
        parse(**change)
    assert refusal.value.details["param"] == field


@pytest.fixture
def embedder(world):
    model = ModelFactory(name="embed-small", family="gpt", context_window=8191, embeds=True)
    ModelPriceFactory(model=model, input_usd=Decimal("0.02"), output_usd=0)
    world.tenant.allowances.create(model=model)
    return model


def answer(tokens):
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json.dumps({"object": "list", "data": [], "model": "embed-small", "usage": usage}).encode()


def embed(key, **changes):
    return post(key, json.dumps({**BODY, **changes}), path="/v1/embeddings")


@pytest.mark.django_db(transaction=True)
async def test_it_is_reserved_priced_and_recorded_like_any_call(world, embedder, upstream_answering, books):
    async with upstream_answering(raw(answer(1000))) as upstream:
        served = await embed(world.key, input=["text " * 1000, "more"])
        seen = await books()

    assert served.body == answer(1000)
    assert Decimal(served.headers["x-tenantry-cost-usd"]) == Decimal("0.00002")
    assert upstream.asked[0].target == "/v1/embeddings"
    assert upstream.asked[0].headers["authorization"] == "Bearer ezai-secret"
    assert set(upstream.asked[0].json) == {"model", "input"}
    assert (seen.row.input_tokens, seen.row.output_tokens, seen.row.estimated) == (1000, 0, False)
    assert (seen.row.wire, seen.row.model) == ("openai", "embed-small")
    assert seen.balanced


@pytest.mark.django_db(transaction=True)
async def test_many_texts_may_be_longer_together_than_one_may_be(world, embedder, upstream_answering, books):
    async with upstream_answering(raw(answer(16_000))):
        await embed(world.key, input=["text", "text"])
        await embed(world.key, input="text")
        seen = await books()

    assert [(row.input_tokens, row.estimated) for row in seen.rows] == [(16_000, False), (8191, True)]


@pytest.mark.django_db(transaction=True)
async def test_a_budget_that_is_spent_refuses_it_and_nothing_is_clamped(world, embedder, upstream_answering):
    await sync_to_async(world.with_limits)(monthly_budget_usd=Decimal("0.000000001"))
    async with upstream_answering(raw(answer(5))) as upstream:
        refused = await embed(world.key)

    assert (refused.status, refused.error["code"]) == (402, "budget_exceeded")
    assert upstream.asked == []


@pytest.mark.django_db(transaction=True)
async def test_a_model_does_what_it_is_for(world, embedder, upstream_answering):
    async with upstream_answering(raw(answer(5))) as upstream:
        chat = await embed(world.key, model=world.sonnet.name)
        vectors = await post(world.key, model="embed-small")

    assert (chat.status, vectors.status) == (400, 400)
    assert "is not an embedding model" in chat.error["message"]
    assert "/v1/embeddings" in vectors.error["message"]
    assert upstream.asked == []


@pytest.mark.django_db
def test_nothing_may_take_over_from_a_model_whose_vectors_would_not_compare():
    with pytest.raises(IntegrityError):
        ModelFactory(embeds=True, downgrade_to=ModelFactory(embeds=True))
