"""What callers and the upstream can get wrong: the error of the table, in the caller's dialect, free."""

import asyncio
import json

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError

from billing.meter.connection.cluster import open_pipe
from gateway_project.asgi import application
from tenants import authentication
from tenants.models import AllowedModel
from tests.factories import ApiKeyFactory, ModelFactory, ModelPriceFactory
from tests.proxy.gateway import get, post, runtime
from tests.proxy.scripted_upstream import message, raw

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b'"text"', None),
        (b"null", None),
        (b'{"a":"\xff","max_tokens":1,"messages":[{"role":"user","content":"x"}]}', None),
        ({"messages": ...}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [5]}, "messages[0]"),
        ({"max_tokens": ...}, "max_tokens"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 64_001}, "max_tokens"),
        ({"max_tokens": 10**12}, "max_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"model": 5}, "model"),
        ({"stream": "yes"}, "stream"),
        (b'{"model":"a","max_tokens":1,"model":"b","messages":[{"role":"user","content":"x"}]}', "model"),
    ],
)
async def test_a_body_that_cannot_be_used_is_a_400_that_names_the_field(
    world, upstream_answering, books, body, field
):
    async with upstream_answering(raw(message())) as upstream:
        answer = await (post(world.key, **body) if isinstance(body, dict) else post(world.key, body))
        seen = await books()

    assert answer.status == 400
    assert answer.json["type"] == "error"
    assert answer.json["request_id"] == answer.headers["request-id"]
    assert (answer.error["type"], answer.error["code"]) == ("invalid_request_error", "invalid_request")
    assert answer.error.get("param") == field
    assert (upstream.asked, seen.rows, seen.reserved_usd) == ([], [], 0)


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/embeddings"])
async def test_in_openais_format_openais_word_for_it_stands_beside_ours(world, route):
    asked = {"model": "none", "input": "hi", "messages": [{"role": "user", "content": "hi"}]}
    answer = await post(world.key, json.dumps(asked), path=route, plain=True)

    assert (answer.status, answer.headers["x-should-retry"]) == (404, "false")
    assert (answer.error["type"], answer.error["code"]) == ("not_found_error", "model_not_allowed")
    assert answer.error["openai_code"] == "model_not_found"


async def test_only_models_that_would_serve_such_a_request_are_named(world):
    def allow_others():
        world.tenant.allowances.create(model=ModelFactory(name="unpriced"))
        embedder = ModelPriceFactory(model=ModelFactory(name="embedder", embeds=True)).model
        world.tenant.allowances.create(model=embedder)

    await sync_to_async(allow_others)()

    message = await post(world.key, model="none")
    vector = await post(world.key, json.dumps({"model": "none", "input": "hi"}), path="/v1/embeddings")

    assert message.error["allowed"] == ["claude-opus-4-20250514", "claude-sonnet-4-20250514"]
    assert vector.error["allowed"] == ["embedder"]


@pytest.mark.parametrize("model", ["none", "auto", ...])
async def test_an_account_without_models_is_told_so(world, model):
    await sync_to_async(AllowedModel.objects.filter(tenant=world.tenant).delete)()

    answer = await post(world.key, model=model)

    assert (answer.status, answer.error["code"], answer.error["allowed"]) == (404, "model_not_allowed", [])
    assert "No models are enabled for your account." in answer.error["message"]


async def test_an_endless_name_of_a_model_is_not_read_back(world):
    answer = await post(world.key, model="x" * 100_000)

    assert answer.status == 404
    assert len(answer.body) < 1_000


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": "tn_unknown"},
        {"x-api-key": ""},
        {"x-api-key": "KEY", "authorization": "Bearer tn_another"},
        {"x-api-key": "KEY,KEY"},
        {"authorization": "Basic KEY"},
        {"x-api-key": "' OR 1=1 --"},
        {"x_api_key": "KEY"},
    ],
)
async def test_whatever_is_wrong_with_a_key_the_401_reads_alike(world, upstream_answering, headers):
    given = {name: value.replace("KEY", world.key) for name, value in headers.items()}
    async with upstream_answering(raw(message())) as upstream:
        answer = await post("", headers=given)

    assert answer.status == 401
    assert (answer.error["type"], answer.error["code"]) == ("authentication_error", "invalid_api_key")
    assert answer.error["message"] == "Invalid API key. Send it as x-api-key or as Authorization: Bearer."
    assert upstream.asked == []


async def test_a_body_over_the_limit_is_a_413_in_the_callers_dialect(world, upstream_answering, settings):
    settings.BODY_LIMIT_BYTES = 32 * 1024 * 1024
    async with upstream_answering(raw(message())) as upstream:
        answer = await post(world.key, b"x" * 33 * 1024 * 1024)
        openai = await post(world.key, b"x" * 33 * 1024 * 1024, path="/v1/chat/completions")

    assert (answer.status, answer.error["type"]) == (413, "request_too_large")
    assert (openai.status, openai.error["code"]) == (413, "request_too_large")
    assert upstream.asked == []


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", "/v1/messages", {}, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", {}, 405, "method_not_allowed"),
        ("OPTIONS", "/v1/messages", {}, 405, "method_not_allowed"),
        ("POST", "/v1/messages/batches", {}, 404, "not_found"),
        ("POST", "/v1/messages/", {}, 404, "not_found"),
        ("POST", "/v1/files", {}, 404, "not_found"),
        ("POST", "/v1/", {}, 404, "not_found"),
        ("POST", "/v1/messages", {"content-encoding": "gzip"}, 415, "unsupported_media_type"),
        ("POST", "/v1/messages", {"content-type": "text/html"}, 415, "unsupported_media_type"),
    ],
)
async def test_what_is_not_there_is_said_in_the_callers_dialect(world, method, path, headers, status, code):
    anthropic = await post(world.key, method=method, path=path, headers=headers)
    openai = await post(
        "", path=path.replace("messages", "chat/completions"), method=method, headers={
            "authorization": f"Bearer {world.key}", **headers
        },
    )  # fmt: skip

    assert (anthropic.status, anthropic.error["code"]) == (status, code)
    assert anthropic.json["type"] == "error"
    if "messages/" not in path:
        assert openai.status == status
    if status == 405:
        assert anthropic.headers["allow"]


async def test_an_event_stream_may_be_accepted_and_a_version_may_be_anything(world, upstream_answering):
    async with upstream_answering(raw(message())) as upstream:
        answer = await post(
            world.key, headers={"accept": "text/event-stream", "anthropic-version": "2026-10-21"}
        )

    assert answer.status == 200
    assert upstream.asked[0].headers["anthropic-version"] == "2026-10-21"


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_the_root_is_no_server_error(method):
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application), base_url="http://127.0.0.1"
    ) as client:
        answer = await client.request(method, "/")

    assert answer.status_code < 500


async def test_an_upstream_that_is_down_is_a_502_and_free(world, books, settings):
    settings.EZAI_BASE_URL = "http://127.0.0.1:1"

    answer = await post(world.key)
    seen = await books()
    await runtime().meter.pipe.close()

    assert (answer.status, answer.error["code"]) == (502, "upstream_unavailable")
    assert (seen.row.status, seen.row.cost_usd, seen.row.estimated) == ("upstream_error", 0, False)
    assert seen.reserved_usd == 0


async def test_with_the_database_down_known_keys_are_served_and_unknown_ones_get_a_503(
    world, upstream_answering, monkeypatch
):
    stranger = await sync_to_async(ApiKeyFactory)()

    def down(digest):
        raise OperationalError

    async with upstream_answering(raw(message())):
        await post(world.key)
        monkeypatch.setattr(authentication, "load_principal", down)
        known = await post(world.key)
        unknown = await post(stranger.plain)

    assert known.status == 200
    assert unknown.status == 503


async def test_with_redis_down_nothing_is_admitted_and_the_answer_is_quick(
    world, upstream_answering, settings
):
    async with upstream_answering(raw(message())) as upstream:
        await post(world.key)
        await runtime().meter.pipe.close()
        runtime().meter.pipe = open_pipe("unix:///tmp/no-such-redis.sock")

        started = asyncio.get_running_loop().time()
        answer = await post(world.key)
        took = asyncio.get_running_loop().time() - started

    assert (answer.status, answer.error["code"]) == (503, "metering_unavailable")
    assert answer.error["type"] == "api_error"
    assert took < 1
    assert len(upstream.asked) == 1


async def test_a_fault_of_ours_is_a_500_without_a_word_about_it(world, upstream_answering, monkeypatch):
    def broken(*args, **kwargs):
        raise KeyError("secret-detail")

    monkeypatch.setattr("proxy.pipeline.plan.candidates_for", broken)
    async with upstream_answering(raw(message())):
        answer = await post(world.key)

    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert b"secret-detail" not in answer.body


async def test_reads_need_a_key_too(world):
    for path in ("/v1/models", "/v1/usage", "/v1/budget", "/v1/requests/x"):
        assert (await get("", path)).status == 401
    assert (await get(world.key, "/v1/usage", query="since=yesterday")).status == 400
    await runtime().meter.pipe.close()
