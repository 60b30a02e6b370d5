"""Every route of the data plane: whatever reaches the upstream holds a reservation first."""

import json
from decimal import Decimal

import pytest
from asgiref.sync import sync_to_async

from proxy.door.urls import urlpatterns
from tests.factories import ModelFactory, ModelPriceFactory
from tests.proxy.gateway import HELLO, caller
from tests.proxy.scripted_upstream import message, raw

pytestmark = pytest.mark.django_db(transaction=True)
SPENDING = {"v1/messages", "v1/chat/completions", "v1/embeddings"}
FREE = {"v1/messages/count_tokens"}


def routes():
    return [str(each.pattern) for each in urlpatterns]


@pytest.fixture
def holds(redis_server):
    """What is held for the call that is being made, in nano-USD."""

    def read():
        leases = [lease for key in redis_server.scan_iter("*:leases") for lease in redis_server.hvals(key)]
        return [int(lease.split(b"|", 1)[0]) for lease in leases]

    return read


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("route", routes())
async def test_what_reaches_the_upstream_is_reserved_for(world, upstream_answering, holds, route, method):
    embedder = await sync_to_async(ModelFactory)(name="embed", embeds=True)
    await sync_to_async(ModelPriceFactory)(model=embedder, output_usd=0)
    await sync_to_async(world.tenant.allowances.create)(model=embedder)
    held = []

    async def talk(asked, writer):
        held.append(holds())
        await raw(message())(asked, writer)

    body = {"model": "embed", "input": "x"} if "embeddings" in route else HELLO
    path = "/" + route.replace("<path:name>", world.sonnet.name).replace("<str:request_id>", "x")
    async with upstream_answering(talk) as upstream:
        await caller(world.key, json.dumps(body), path=path, method=method).call()

    if method == "POST" and route in SPENDING:
        assert [len(each) for each in held] == [1]
        assert held[0][0] > 0
    elif method == "POST" and route in FREE:
        assert held == [[0]]
    else:
        assert upstream.asked == []


@pytest.mark.parametrize("route", sorted(SPENDING))
async def test_a_spent_budget_is_spent_on_every_route(world, upstream_answering, route):
    await sync_to_async(world.with_limits)(monthly_budget_usd=Decimal(0))
    embedder = await sync_to_async(ModelFactory)(name="embed", embeds=True)
    await sync_to_async(ModelPriceFactory)(model=embedder)
    await sync_to_async(world.tenant.allowances.create)(model=embedder)
    body = {"model": "embed", "input": "x"} if "embeddings" in route else HELLO
    async with upstream_answering(raw(message())) as upstream:
        answer = await caller(world.key, json.dumps(body), path=f"/{route}").call()

    assert answer.status == 402
    assert upstream.asked == []


@pytest.mark.parametrize("headers", [{}, {"anthropic-version": "2023-06-01"}], ids=["openai", "anthropic"])
@pytest.mark.parametrize("route", routes())
async def test_a_wrong_key_is_told_on_every_route_that_trying_again_is_no_use(world, route, headers):
    path = "/" + route.replace("<path:name>", world.sonnet.name).replace("<str:request_id>", "x")
    answers = [
        await caller("tn_wrong", json.dumps(HELLO), path=path, method=method, headers=headers).call()
        for method in ("GET", "POST")
    ]

    for answer in answers:
        assert answer.status in {401, 405}
        assert answer.headers["x-should-retry"] == "false"
    assert 401 in [answer.status for answer in answers]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/messages/batches", "/v1/files", "/v1/batches", "/v1/completions", "/v1/responses",
        "/v1/images/generations", "/v1/audio/speech", "/v1/realtime", "/v1/assistants", "/v1/fine_tuning/jobs",
        "/v1/embeddings/", "/v1/../v1/messages", "//v1/messages", "/v1/MESSAGES",
    ],
)  # fmt: skip
async def test_what_would_be_unmetered_spending_is_not_there(world, upstream_answering, path):
    async with upstream_answering(raw(message())) as upstream:
        answer = await caller(world.key, path=path).call()

    assert answer.status == 404
    assert upstream.asked == []
