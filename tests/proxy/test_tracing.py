"""Spans of calls: one each, with what they used and nothing that was said."""

import sys

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway_project.ground.extras import MissingExtra
from proxy.tracing import Tracing
from tests.proxy.gateway import finished, post, runtime
from tests.proxy.scripted_upstream import message, raw

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def spans(world):
    exporter = InMemorySpanExporter()
    runtime().tracing.start(exporter)
    return exporter.get_finished_spans


async def test_a_call_is_a_span_with_its_usage_below_the_callers_own(world, upstream_answering, books, spans):
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with upstream_answering(raw(message())) as upstream:
        answer = await post(world.key, headers={"traceparent": parent})
        await books()

    [span] = spans()
    told = dict(span.attributes)
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert told["gen_ai.request.model"] == "claude-sonnet-4-20250514"
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (1000, 50)
    assert told["tenantry.cost.usd"] == "0.003750000"
    assert told["tenantry.request.id"] == answer.headers["request-id"]
    assert "traceparent" not in upstream.asked[0].headers
    assert "hello" not in str(told)
    assert world.key not in str(told)


async def test_a_call_that_failed_says_so(world, upstream_answering, spans):
    async with upstream_answering(raw(b'{"error":{}}', status=400)):
        await post(world.key)
        await finished()

    [span] = spans()
    assert span.attributes["error.type"] == "upstream_error"


def test_asked_for_and_not_installed_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)

    with pytest.raises(MissingExtra, match="OTEL_EXPORTER_OTLP_ENDPOINT needs the extra 'otel'"):
        Tracing().start()
