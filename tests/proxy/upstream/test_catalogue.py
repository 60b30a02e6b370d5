"""Which upstreams a call may go to."""

import pytest
from asgiref.sync import sync_to_async

from routing.models import Upstream
from tests.proxy.gateway import post
from tests.proxy.pipeline.test_attempts import BUSY
from tests.proxy.pipeline.test_attempts import quick as quick  # a fixture
from tests.proxy.scripted_upstream import echo, raw, upstream_that

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_second_upstream_takes_over_under_its_own_key(world, upstream_answering, books):
    async with (
        upstream_that(echo()) as other,
        upstream_answering(raw(BUSY, status=503)) as ezai,
    ):
        row = Upstream(name="other", base_url=other.url, api_key="other-secret")
        await sync_to_async(row.save)()
        answer = await post(world.key)

    assert answer.status == 200
    assert len(ezai.asked) == 1
    assert other.asked[0].headers["x-api-key"] == "other-secret"
    assert row.api_key.startswith("enc:")


async def test_a_second_upstream_is_not_asked_in_a_format_it_does_not_speak(world, upstream_answering):
    async with (
        upstream_that(echo()) as other,
        upstream_answering(raw(BUSY, status=503)),
    ):
        row = Upstream(name="other", base_url=other.url, api_key="k", wires=["openai"])
        await sync_to_async(row.save)()
        answer = await post(world.key)

    assert answer.status == 503
    assert not other.asked
