"""A JSON answer: read to its end, settled, passed on."""

from decimal import Decimal

import pytest

from tests.proxy.gateway import post
from tests.proxy.scripted_upstream import raw

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("told", "status", "code", "http_status"),
    [
        (raw(b"<html>524</html>", status=524, kind="text/html"), 504, "upstream_timeout", 524),
        (raw(b"<html>502</html>", status=502, kind="text/html"), 502, "upstream_unavailable", 502),
        (raw(b"<html>403</html>", status=403, kind="text/html"), 502, "upstream_unavailable", 403),
        (raw(b"<html>ok</html>", status=200, kind="text/html"), 502, "upstream_unavailable", 502),
        (raw(b'{"error":"bad key"}', status=401), 502, "upstream_unavailable", 401),
    ],
)
async def test_what_is_no_answer_of_an_api_becomes_our_envelope_and_is_free(
    world, upstream_answering, books, told, status, code, http_status
):
    async with upstream_answering(told):
        answer = await post(world.key)
        seen = await books()

    assert (answer.status, answer.error["code"]) == (status, code)
    assert (seen.row.status, seen.row.cost_usd) == ("upstream_error", 0)
    assert seen.row.http_status == http_status
    assert seen.reserved_usd == 0
    assert seen.balanced


@pytest.mark.parametrize("status", [400, 404, 413, 422, 429, 500, 529])
async def test_the_upstreams_own_errors_pass_unmodified_and_are_free(
    world, upstream_answering, books, status
):
    body = b'{"type": "error",  "error":{"type":"any","message":"caf\xc3\xa9"}}'
    told = raw(body, status=status, headers=("retry-after: 7", "x-should-retry: true"))
    async with upstream_answering(told):
        answer = await post(world.key)
        seen = await books()

    assert (answer.status, answer.body) == (status, body)
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("7", "true")
    assert Decimal(answer.headers["x-tenantry-cost-usd"]) == 0
    assert answer.headers["x-tenantry-error-source"] == "upstream"
    assert (seen.row.status, seen.row.http_status, seen.row.cost_usd) == ("upstream_error", status, 0)
    assert seen.reserved_usd == 0
