"""The official SDKs, as their users drive them, in front of the gateway on a real socket.

What they do with our refusals is theirs to decide; here it is seen: how many requests they send, and when.
"""

import asyncio
import json
from datetime import timedelta
from typing import Any

import anthropic
import anyio
import openai
import pytest
import uvicorn
from asgiref.sync import sync_to_async
from django.utils import timezone

from billing.meter.connection.cluster import open_pipe
from gateway_project.asgi import application
from proxy.pipeline import attempts
from tenants.models import ApiKey
from tests.proxy.gateway import runtime
from tests.proxy.scripted_upstream import DELTA, END, SONNET, STOP, event, message, raw, stream
from tests.sandbox import free_port

pytestmark = pytest.mark.django_db(transaction=True)
MESSAGES: Any = [{"role": "user", "content": "hi"}]
CHAT = {
    "id": "c", "object": "chat.completion", "created": 1, "model": SONNET,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050},
}  # fmt: skip
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": SONNET}
WORD = {**CHUNK, "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]}
USAGE = {**CHUNK, "choices": [], "usage": CHAT["usage"]}
BUSY = json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}).encode()


OPENING = event(
    "message_start",
    message={
        "id": "msg_1", "type": "message", "role": "assistant", "model": SONNET, "content": [],
        "usage": {"input_tokens": 1000, "output_tokens": 1},
    },
) + event("content_block_start", index=0, content_block={"type": "text", "text": ""})  # fmt: skip


def data(*chunks):
    return b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks)


@pytest.fixture
async def gateway():
    """The address of the application, served by uvicorn in this test's own loop."""
    port = free_port()
    config = uvicorn.Config(application, host="127.0.0.1", port=port, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it offers no event
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving


@pytest.fixture
def pauses(monkeypatch):
    """What an SDK would wait before it tries again, in seconds. It does not wait."""
    waited = []

    async def note(seconds):
        waited.append(seconds)

    monkeypatch.setattr(anyio, "sleep", note)
    return waited


class Claude:
    """Anthropic's SDK; `statuses` are those of all answers it got."""

    answer = staticmethod(raw(message(input_tokens=1000, output_tokens=50)))
    sse = staticmethod(stream(OPENING, event("ping"), DELTA, event("content_block_stop", index=0), END, STOP))
    error = staticmethod(
        stream(OPENING, DELTA, event("error", error={"type": "overloaded_error", "message": "Busy"}))
    )
    cut = staticmethod(stream(OPENING, DELTA))
    library: Any = anthropic

    def __init__(self, url, key):
        self.url, self.key = url, key
        self.statuses: list[int] = []
        self.client: Any = anthropic.AsyncAnthropic(
            base_url=url, api_key=key, http_client=anthropic.DefaultAsyncHttpxClient(event_hooks=self.hooks())
        )

    def hooks(self):
        async def note(response):
            self.statuses.append(response.status_code)

        return {"response": [note]}

    async def create(self, **options):
        made = await self.client.messages.create(model=SONNET, max_tokens=100, messages=MESSAGES, **options)
        return made.usage.output_tokens, made._request_id

    async def read(self):
        async with self.client.messages.stream(model=SONNET, max_tokens=100, messages=MESSAGES) as events:
            return (await events.get_final_message()).usage.output_tokens

    def in_a_thread(self):
        client: Any = anthropic.Anthropic(base_url=self.url, api_key=self.key)
        made = client.messages.create(model=SONNET, max_tokens=100, messages=MESSAGES)
        with client.messages.stream(model=SONNET, max_tokens=100, messages=MESSAGES) as events:
            return made.usage.output_tokens, events.get_final_message().usage.output_tokens


class GPT(Claude):
    """OpenAI's SDK."""

    answer = staticmethod(raw(json.dumps(CHAT).encode()))
    sse = staticmethod(stream(data(WORD, WORD, USAGE) + b"data: [DONE]\n\n"))
    error = staticmethod(
        stream(data(WORD, {"error": {"message": "Busy", "type": "overloaded_error", "code": None}}))
    )
    cut = staticmethod(stream(data(WORD)))
    library = openai

    def __init__(self, url, key):
        self.url, self.key = url, key
        self.statuses: list[int] = []
        self.client = openai.AsyncOpenAI(
            base_url=f"{url}/v1",
            api_key=key,
            http_client=openai.DefaultAsyncHttpxClient(event_hooks=self.hooks()),
        )

    async def create(self, **options):
        made = await self.client.chat.completions.create(model=SONNET, messages=MESSAGES, **options)
        return made.usage.completion_tokens, made._request_id

    async def read(self):
        options = {"include_usage": True}
        chunks = await self.client.chat.completions.create(
            model=SONNET, messages=MESSAGES, stream=True, stream_options=options
        )
        return [chunk.usage async for chunk in chunks][-1].completion_tokens

    def in_a_thread(self):
        client: Any = openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key)
        made = client.chat.completions.create(model=SONNET, messages=MESSAGES)
        chunks = client.chat.completions.create(
            model=SONNET, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        return made.usage.completion_tokens, [chunk.usage for chunk in chunks][-1].completion_tokens


@pytest.fixture(params=[Claude, GPT])
def sdk(request, world, gateway):
    return request.param(gateway, world.key)


def by_kind(sdk):
    """Streams where one is asked for, else JSON."""

    async def talk(asked, writer):
        await (sdk.sse if asked.json.get("stream") else sdk.answer)(asked, writer)

    return talk


async def test_calls_and_streams_work_async_and_in_threads(sdk, upstream_answering, books):
    async with upstream_answering(by_kind(sdk)):
        assert (await sdk.create())[0] == 50
        assert await sdk.read() == 50
        assert await asyncio.to_thread(sdk.in_a_thread) == (50, 50)
        seen = await books()

    assert [row.status for row in seen.rows] == ["ok"] * 4
    assert seen.balanced


async def test_an_sdk_shows_the_id_that_finds_the_receipt(sdk, upstream_answering, books):
    async with upstream_answering(sdk.answer):
        _, request_id = await sdk.create()
        seen = await books()

    assert request_id == str(seen.row.request_id)


async def test_a_spent_budget_is_asked_once(sdk, world, upstream_answering, pauses):
    await sync_to_async(world.with_limits)(monthly_budget_usd="0.000001")
    async with upstream_answering(sdk.answer) as upstream:
        with pytest.raises(sdk.library.APIStatusError) as refusal:
            await sdk.create()

    assert refusal.value.status_code == 402
    assert "budget_exceeded" in str(refusal.value.body)
    assert refusal.value.response.headers["request-id"]
    assert (sdk.statuses, pauses, upstream.asked) == ([402], [], [])


async def test_a_full_minute_is_tried_again_when_it_says_so(sdk, world, upstream_answering, pauses):
    await sync_to_async(world.with_limits)(max_requests_per_minute=1)
    async with upstream_answering(sdk.answer) as upstream:
        await sdk.create()
        with pytest.raises(sdk.library.RateLimitError):
            await sdk.create()

    assert sdk.statuses == [200, 429, 429, 429]
    assert len(pauses) == 2
    assert all(50 <= seconds <= 60 for seconds in pauses)
    assert len(upstream.asked) == 1


async def test_a_days_tokens_are_not_tried_again(sdk, world, upstream_answering, pauses):
    await sync_to_async(world.with_limits)(max_tokens_per_day=1)
    async with upstream_answering(sdk.answer):
        await sdk.create()
        with pytest.raises(sdk.library.RateLimitError):
            await sdk.create()

    assert (sdk.statuses, pauses) == ([200, 429], [])


async def test_while_metering_is_away_it_is_tried_again(sdk, upstream_answering, settings, pauses):
    async with upstream_answering(sdk.answer) as upstream:
        await sdk.create()
        await runtime().meter.pipe.close()
        runtime().meter.pipe = open_pipe("unix:///tmp/no-such-redis.sock")
        with pytest.raises(sdk.library.InternalServerError) as refusal:
            await sdk.create()

    assert refusal.value.status_code == 503
    assert sdk.statuses == [200, 503, 503, 503]
    assert pauses == [1.0, 1.0]
    assert len(upstream.asked) == 1


async def test_an_overload_passes_and_is_tried_again_by_both_sides(
    sdk, upstream_answering, monkeypatch, pauses, books
):
    monkeypatch.setattr(attempts, "FIRST_PAUSE_SECONDS", 0.01)
    answers = [raw(BUSY, status=529)] * 3 + [sdk.answer]

    async def talk(asked, writer):
        await answers.pop(0)(asked, writer)

    async with upstream_answering(talk):
        await sdk.create()
        seen = await books()

    assert sdk.statuses == [529, 200]
    assert [(row.status, row.cost_usd > 0) for row in seen.rows] == [("upstream_error", False), ("ok", True)]


@pytest.mark.parametrize(
    ("change", "error", "status"),
    [
        (
            {"extra_headers": {"x-api-key": "tn_x", "authorization": "Bearer tn_x"}},
            "AuthenticationError",
            401,
        ),
        ({"extra_body": {"model": "none"}}, "NotFoundError", 404),
        ({"extra_body": {"messages": []}}, "BadRequestError", 400),
        ({"extra_headers": {"x-tenantry-tags": "bad tag"}}, "BadRequestError", 400),
    ],
)
async def test_what_no_repetition_can_mend_is_asked_once(
    sdk, upstream_answering, pauses, change, error, status
):
    async with upstream_answering(sdk.answer) as upstream:
        with pytest.raises(getattr(sdk.library, error)):
            await sdk.create(**change)

    assert (sdk.statuses, pauses, upstream.asked) == ([status], [], [])


@pytest.mark.parametrize("change", ["unknown", "revoked", "expired"])
async def test_a_key_that_does_not_work_is_asked_once_and_says_so(sdk, world, pauses, change):
    if change == "unknown":
        sdk.client.api_key = "tn_unknown"
    else:
        moment = timezone.now() - timedelta(hours=1)
        changed = {"revoked": {"revoked_at": moment}, "expired": {"expires_at": moment}}[change]
        await sync_to_async(ApiKey.objects.filter(tenant=world.tenant).update)(**changed)
    ways = [sdk.create, sdk.read, lambda: sdk.client.models.retrieve(SONNET)]

    for way in ways:
        with pytest.raises(sdk.library.AuthenticationError) as refusal:
            await way()
        assert refusal.value.response.headers["x-should-retry"] == "false"

    assert (sdk.statuses, pauses) == ([401] * len(ways), [])


@pytest.mark.parametrize("how", ["error", "cut"])
async def test_a_stream_that_breaks_off_is_an_error_in_the_sdk(sdk, upstream_answering, how):
    async with upstream_answering(getattr(sdk, how)):
        with pytest.raises(sdk.library.APIError):
            await sdk.read()


async def test_a_repeated_key_is_answered_from_the_first_call(sdk, upstream_answering, books):
    async with upstream_answering(sdk.answer):
        key = {"idempotency-key": "order-7"}
        assert await sdk.create(extra_headers=key) == await sdk.create(extra_headers=key)
        seen = await books()

    assert len(seen.rows) == 1


async def test_models_are_listed_in_the_form_the_sdk_expects(sdk, world, upstream_answering):
    async with upstream_answering(sdk.answer):
        listed = [model.id async for model in sdk.client.models.list()]
        one = await sdk.client.models.retrieve(SONNET)
        with pytest.raises(sdk.library.NotFoundError):
            await sdk.client.models.retrieve("none")

    assert listed == [world.opus.name, world.sonnet.name]
    assert one.id == SONNET
