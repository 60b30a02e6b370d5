"""What a call may be served by."""

import pytest

from tests.proxy.gateway import post
from tests.proxy.scripted_upstream import message, raw

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("model", ["no-such-model", "gpt-4o", "claude-sonnet-4-20250514' OR 1=1", "\x00", ""])
async def test_an_unknown_model_and_one_not_allowed_are_refused_alike(world, upstream_answering, model):
    async with upstream_answering(raw(message())) as upstream:
        answer = await post(world.key, model=model or "x")

    assert (answer.status, answer.headers["x-should-retry"]) == (404, "false")
    assert (answer.error["type"], answer.error["code"]) == ("not_found_error", "model_not_allowed")
    assert answer.error["allowed"] == ["claude-opus-4-20250514", "claude-sonnet-4-20250514"]
    assert upstream.asked == []
