"""What all dialects share: people, tags and errors."""

import json

import pytest

from billing.meter.errors import BudgetExceeded
from proxy.dialects import ANTHROPIC, OPENAI
from proxy.errors import InvalidRequest
from tests.proxy.dialects.wire import BODY, parse


@pytest.mark.parametrize(
    ("user", "who"),
    [
        ("ann", ("ann", "")),
        ("user_abc_account_0-1_session_9-9", ("0-1", "9-9")),
        (json.dumps({"device_id": "d", "account_uuid": "a", "session_id": "s"}), ("a", "s")),
        ("x" * 999, ("x" * 200, "")),
    ],
)
def test_the_person_is_told_from_the_session(user, who):
    ask = parse({**BODY, "metadata": {"user_id": user}}).ask
    assert (ask.end_user, ask.session) == who


def test_errors_come_in_the_callers_dialect():
    from decimal import Decimal

    error = BudgetExceeded(scope="tenant", spend_usd=Decimal(5), budget_usd=Decimal(5), resets_at=None)

    status, headers, body = ANTHROPIC.render_error(error, "id-1")
    anthropic = json.loads(body)
    openai = json.loads(OPENAI.render_error(error, "id-1")[2])

    assert status == 402
    assert ("x-should-retry", "false") in headers
    assert (anthropic["type"], anthropic["error"]["type"]) == ("error", "billing_error")
    assert anthropic["request_id"] == "id-1"
    assert anthropic["error"]["code"] == openai["error"]["code"] == "budget_exceeded"
    assert openai["error"]["scope"] == "tenant"


@pytest.mark.parametrize(
    "header", ["noequals", "a=b c", "=x", "a=" + "x" * 65, ",".join(f"t{i}=1" for i in range(11)), "a=1,a=2"]
)
def test_bad_tags_are_refused(header):
    with pytest.raises(InvalidRequest, match=r"^x-tenantry-tags: "):
        parse(BODY, headers={"x-tenantry-tags": header})


def test_tags_are_read():
    assert parse(BODY, headers={"x-tenantry-tags": "feature=summarize, team=a"}).tags == {
        "feature": "summarize",
        "team": "a",
    }
