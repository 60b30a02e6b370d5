"""OpenTelemetry spans of calls, if the `otel` extra is installed and OTEL_EXPORTER_OTLP_ENDPOINT is set.

Each call has one span, made after it is settled, so that it delays no request. Its attributes follow the semantic
conventions for generative AI clients. It never contains prompts and answers. A caller's `traceparent` becomes its
parent, and is not sent upstream.
"""

import os
import time
from collections.abc import Mapping
from typing import Any

from billing.meter.lease import Lease
from billing.meter.settlement import CallOutcome
from billing.models import UsageStatus
from gateway_project.ground.extras import require
from gateway_project.ground.money import to_usd

_PROVIDERS = {"claude": "anthropic", "gpt": "openai", "gemini": "gcp.gemini", "grok": "x_ai"}


class Tracing:
    """Makes spans once it is started with an endpoint to send them to; else it makes none."""

    def __init__(self) -> None:
        self._tracer: Any = None

    def start(self, exporter: Any = None) -> None:
        """Set up the tracer if an endpoint is set or `exporter` given. Raises MissingExtra."""
        if exporter is None and not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
            return
        require("otel", because="OTEL_EXPORTER_OTLP_ENDPOINT")
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            processor: Any = BatchSpanProcessor(OTLPSpanExporter())
        else:
            processor = SimpleSpanProcessor(exporter)
        provider = TracerProvider(resource=Resource.create({"service.name": "tenantry"}))
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("tenantry")

    def stop(self) -> None:
        """Make no more spans."""
        self._tracer = None

    def settled(self, lease: Lease, outcome: CallOutcome, headers: Mapping[str, str]) -> None:
        """Make the span of a settled call."""
        if self._tracer is None:
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        ended = time.time_ns()
        event, model = lease.event, lease.offer.candidate.model
        span = self._tracer.start_span(
            f"chat {model.name}",
            context=TraceContextTextMapPropagator().extract(headers),
            kind=SpanKind.CLIENT,
            start_time=ended - (outcome.latency_ms or 0) * 1_000_000,
            attributes={
                "gen_ai.operation.name": "embeddings" if event.wire == "embeddings" else "chat",
                "gen_ai.provider.name": _PROVIDERS.get(model.family, model.family),
                "gen_ai.request.model": event.model_requested or model.name,
                "gen_ai.request.max_tokens": lease.max_tokens,
                "gen_ai.response.model": model.name,
                "gen_ai.usage.input_tokens": outcome.usage.total_tokens - outcome.usage.output_tokens,
                "gen_ai.usage.output_tokens": outcome.usage.output_tokens,
                "http.response.status_code": outcome.http_status or 0,
                "tenantry.request.id": lease.request_id,
                "tenantry.tenant.id": lease.tenant_id,
                "tenantry.route": event.route,
                "tenantry.cost.usd": f"{to_usd(outcome.cost_nano):f}",
                "tenantry.estimated": outcome.estimated,
            },
        )
        if outcome.status is not UsageStatus.OK:
            span.set_status(Status(StatusCode.ERROR, outcome.status.value))
            span.set_attribute("error.type", outcome.status.value)
        span.end(ended)
