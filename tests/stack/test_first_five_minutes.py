"""What a newcomer and a tenant's engineer do first, against real processes, with the official SDK."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import anthropic
import httpx
import openai
import pytest

pytestmark = pytest.mark.stack
SONNET = "claude-sonnet-4-20250514"
PRICED = "[[sandbox input_tokens=1000 output_tokens=50]]"


def asking(text="hi"):
    return {"model": SONNET, "max_tokens": 100, "messages": [{"role": "user", "content": text}]}


@pytest.fixture(scope="module")
def operator(stack):
    with stack.operator() as client:
        yield client


@pytest.fixture
def tenant_key(operator):
    """A fresh tenant with the limits given, and its key."""
    made = []

    def make(**limits):
        slug = f"t{time.time_ns()}"
        body = {"slug": slug, "name": slug, "tier": "pro", "allowed_models": [SONNET], **limits}
        answer = operator.post("/api/tenants/", json=body)
        assert answer.status_code == 201, answer.text
        made.append(slug)
        return slug, operator.post(f"/api/tenants/{slug}/keys/", json={"name": "test"}).json()["key"]

    return make


def eventually(question, seconds=10):
    deadline = time.monotonic() + seconds
    while not (answer := question()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


def test_a_call_costs_the_same_in_header_ledger_roll_up_and_tenant(stack, operator, tenant_key):
    slug, key = tenant_key(monthly_budget_usd="5")
    client = anthropic.Anthropic(base_url=stack.url, api_key=key)

    answer = client.messages.with_raw_response.create(**asking(PRICED))

    assert Decimal(answer.headers["x-tenantry-cost-usd"]) == Decimal("0.00375")
    assert answer.headers["x-tenantry-model"] == SONNET
    rows = eventually(lambda: operator.get("/api/usage", params={"tenant": slug}).json()["results"])
    assert [row["cost_usd"] for row in rows] == ["0.003750000"]
    assert rows[0]["request_id"] == answer.headers["request-id"]
    assert Decimal(operator.get(f"/api/tenants/{slug}/").json()["current_spend_usd"]) == Decimal("0.00375")
    books = json.loads(stack.manage("check_books", "--json", "--tenant", slug).stdout)
    assert books["ok"]
    assert books["tenants"][0]["rollup_usd"] == "0.003750000"


def test_the_sdk_streams_and_the_receipt_has_the_cost(stack, tenant_key):
    _, key = tenant_key()
    client = anthropic.Anthropic(base_url=stack.url, api_key=key)

    with client.messages.stream(**asking(PRICED)) as stream:
        text = "".join(stream.text_stream)
        request_id = stream.response.headers["request-id"]

    assert text
    assert stream.get_final_message().usage.output_tokens == 50
    headers = {"x-api-key": key}
    receipt = eventually(
        lambda: (
            (found := httpx.get(f"{stack.url}/v1/requests/{request_id}", headers=headers)).status_code == 200
            and found.json()
        )
    )
    assert Decimal(receipt["cost_usd"]) == Decimal("0.00375")


async def test_the_async_sdk_works_too(stack, tenant_key):
    _, key = tenant_key()
    async with anthropic.AsyncAnthropic(base_url=stack.url, api_key=key) as client:
        message = await client.messages.create(**asking())
    assert message.content[0].text


def test_openais_sdk_works_on_the_same_models(stack, tenant_key):
    _, key = tenant_key()
    client = openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key)

    answer = client.chat.completions.create(
        model=SONNET, messages=[{"role": "user", "content": "hi"}], max_tokens=100
    )
    chunks = list(
        client.chat.completions.create(
            model=SONNET, messages=[{"role": "user", "content": "hi"}], max_tokens=100, stream=True
        )
    )

    assert answer.usage is not None
    assert answer.usage.completion_tokens == 50
    assert all(chunk.usage is None for chunk in chunks)


def test_exactly_fifty_of_sixty_rapid_calls_pass_over_two_processes(stack, tenant_key):
    _, key = tenant_key(max_requests_per_minute=50)
    client = anthropic.Anthropic(base_url=stack.url, api_key=key, max_retries=0)

    def call(_):
        try:
            client.messages.create(**asking())
        except anthropic.RateLimitError as error:
            return error.response.headers["retry-after"]
        return None

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(call, range(60)))

    assert answers.count(None) == 50
    assert all(1 <= int(seconds) <= 60 for seconds in answers if seconds is not None)


def test_a_policy_edit_holds_on_the_next_request_in_every_process(stack, operator, tenant_key):
    slug, key = tenant_key()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: post(stack, key), range(16)))

    operator.patch(f"/api/tenants/{slug}/", json={"status": "suspended"})

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: post(stack, key).status_code, range(16)))
    assert set(answers) == {403}
    operator.patch(f"/api/tenants/{slug}/", json={"status": "active"})
    assert {post(stack, key).status_code for _ in range(8)} == {200}


def post(stack, key, body=None):
    return httpx.post(
        f"{stack.url}/v1/messages", headers={"x-api-key": key}, json=body or asking(), timeout=30
    )


def test_a_hard_budget_is_never_passed_by_a_burst(stack, operator, tenant_key):
    slug, key = tenant_key(monthly_budget_usd="0.02", max_requests_per_minute=10_000)
    # As long as a thousand tokens are, so that the reservation is an honest bound of what is reported.
    body = {**asking(PRICED + " word" * 800), "max_tokens": 50}

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: post(stack, key, body), range(60)))

    assert {each.status_code for each in answers} == {200, 402}
    spent = Decimal(operator.get(f"/api/tenants/{slug}/").json()["current_spend_usd"])
    # Clamped ones cost less than the others.
    assert spent == sum(Decimal(each.headers.get("x-tenantry-cost-usd", 0)) for each in answers)
    assert spent <= Decimal("0.02")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_request"),
        (b"[]", 400, "invalid_request"),
        (json.dumps({**asking(), "max_tokens": -1}).encode(), 400, "invalid_request"),
        (json.dumps({**asking(), "model": "claude-opus-4-20250514"}).encode(), 404, "model_not_allowed"),
        (json.dumps({**asking(), "model": "none"}).encode(), 404, "model_not_allowed"),
        (b'{"x":"' + b"x" * 33 * 1024 * 1024 + b'"}', 413, "request_too_large"),
    ],
)
def test_bad_input_is_answered_by_the_table_and_costs_nothing(
    stack, operator, tenant_key, body, status, code
):
    slug, key = tenant_key()

    answer = httpx.post(f"{stack.url}/v1/messages", headers={"x-api-key": key}, content=body, timeout=60)

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == code
    assert operator.get("/api/usage", params={"tenant": slug}).json()["results"] == []


def test_a_long_stream_is_not_taken_for_an_orphan(stack, operator, tenant_key):
    slug, key = tenant_key()
    body = {**asking("[[sandbox deltas=16 delta_ms=1000 output_tokens=16]]"), "stream": True}

    with httpx.stream(
        "POST", f"{stack.url}/v1/messages", headers={"x-api-key": key}, json=body, timeout=60
    ) as answer:
        assert b"message_stop" in b"".join(answer.iter_bytes())

    rows = eventually(lambda: operator.get("/api/usage", params={"tenant": slug}).json()["results"])
    assert [(row["status"], row["output_tokens"]) for row in rows] == [("ok", 16)]


def test_the_next_start_in_the_same_folder_has_nothing_to_prepare(stack, monkeypatch):
    from gateway_project.server.preflight import variable_names
    from gateway_project.server.prepared import is_prepared, seen_settings, settings_changed

    for name in variable_names():
        if name in stack.environment:
            monkeypatch.setenv(name, stack.environment[name])
        else:
            monkeypatch.delenv(name, raising=False)

    assert not settings_changed(stack.home, seen_settings(variable_names()))
    assert is_prepared(stack.home, (stack.home / "postgres.url").read_text())


def test_a_second_up_in_the_same_folder_says_so(stack):
    import subprocess
    import sys

    from tests.stack.conftest import HOME

    again = subprocess.run(
        [sys.executable, "-m", "gateway_project.up"],
        cwd=HOME,
        env=stack.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert again.returncode != 0
    assert "is already running in" in again.stderr


def test_the_sandbox_is_told_by_a_header_what_to_answer(stack):
    answer = httpx.post(
        f"{stack.url}/v1/messages",
        headers={"x-api-key": stack.keys["acme-corp"], "x-sandbox": "output_tokens=7"},
        json={
            "model": "claude-sonnet-4-20250514",
            "max_tokens": 50,
            "messages": [{"role": "user", "content": "hi"}],
        },
    )

    assert answer.status_code == 200
    assert answer.json()["usage"]["output_tokens"] == 7
