"""The control API's ledger: pages and CSV of the same rows."""

import csv
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.timezone import is_naive, make_aware
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from billing.api.strict import UsagePages
from billing.models import UsageRecord

FIELDS = (
    "request_id",
    "created_at",
    "tenant",
    "key",
    "end_user",
    "wire",
    "model_requested",
    "model",
    "route",
    "stream",
    "status",
    "http_status",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "web_searches",
    "cost_usd",
    "estimated",
    "tags",
    "latency_ms",
    "ttft_ms",
    "upstream_request_id",
)
FILTERS = [
    OpenApiParameter("tenant", str, description="A tenant's slug."),
    OpenApiParameter("model", str, description="A model's public name."),
    OpenApiParameter("key", int, description="A key's id."),
    OpenApiParameter("status", str, enum=["ok", "upstream_error", "cancelled", "orphaned"]),
    OpenApiParameter(
        "since", OpenApiTypes.DATETIME, description="From this time on; a date means its midnight UTC."
    ),
    OpenApiParameter("until", OpenApiTypes.DATETIME, description="Before this time."),
]


class UsageSerializer(serializers.ModelSerializer[UsageRecord]):
    tenant = serializers.CharField(source="tenant.slug", read_only=True)
    key = serializers.IntegerField(source="api_key_id", read_only=True)

    class Meta:
        model = UsageRecord
        fields = FIELDS


def filtered(parameters: Any) -> QuerySet[UsageRecord]:
    """The ledger rows these query parameters ask for. Raises ValidationError naming the parameter."""
    rows = UsageRecord.objects.select_related("tenant")
    names = {"tenant": "tenant__slug", "model": "model", "status": "status"}
    for name, lookup in names.items():
        if value := parameters.get(name):
            rows = rows.filter(**{lookup: value})
    if key := parameters.get("key"):
        if not key.isdigit():
            raise serializers.ValidationError({"key": ["A key's id is a number."]})
        rows = rows.filter(api_key_id=int(key))
    if since := _moment(parameters, "since"):
        rows = rows.filter(created_at__gte=since)
    if until := _moment(parameters, "until"):
        rows = rows.filter(created_at__lt=until)
    return rows


def _moment(parameters: Any, name: str) -> datetime | None:
    text = parameters.get(name)
    if not text:
        return None
    try:
        moment = parse_datetime(text)
        if moment is None and (day := parse_date(text)):
            moment = datetime.combine(day, datetime.min.time())
    except ValueError:
        moment = None
    if moment is None:
        raise serializers.ValidationError({name: ["Use ISO 8601, e.g. 2026-11-01T00:00:00Z."]})
    return make_aware(moment) if is_naive(moment) else moment


@extend_schema(parameters=FILTERS)
class UsageView(generics.ListAPIView[UsageRecord]):
    """The ledger, newest first, in cursor pages."""

    queryset = UsageRecord.objects.none()
    serializer_class = UsageSerializer
    pagination_class = UsagePages

    def get_queryset(self) -> QuerySet[UsageRecord]:
        return filtered(self.request.query_params)


class _Line:
    """A file whose lines are handed on instead of being kept."""

    def write(self, line: str) -> str:
        return line


class UsageCsvView(APIView):
    """The ledger as CSV, streamed; a header row with the ledger's field names."""

    @extend_schema(parameters=FILTERS, responses={(200, "text/csv"): OpenApiTypes.STR})
    def get(self, request: Request) -> StreamingHttpResponse:
        rows = filtered(request.query_params).order_by("created_at", "request_id")
        response = StreamingHttpResponse(_lines(rows), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="usage.csv"'
        return response


def _lines(rows: QuerySet[UsageRecord]) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(FIELDS)
    sources = [
        "tenant__slug" if name == "tenant" else "api_key_id" if name == "key" else name for name in FIELDS
    ]
    for row in rows.values_list(*sources).iterator(chunk_size=5000):
        yield writer.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return ";".join(f"{name}={text}" for name, text in value.items())
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
