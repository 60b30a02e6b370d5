"""The control API's ledger: pages and CSV of the same rows."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import available_timezones

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.timezone import is_naive, make_aware
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, serializers, viewsets
from rest_framework.request import Request
from rest_framework.views import APIView

from billing.exports import export as exports
from billing.ledger.tag_usage import tagged
from billing.models import UsageExport, UsageRecord
from billing.usage import COUNTS
from gateway_project.api.serializers import Pages, UsagePages
from gateway_project.ground.streamed import streamed
from tenants.models import Tenant

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
    *COUNTS,
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
    OpenApiParameter("key", int, description="ID of the API key."),
    OpenApiParameter("status", str, enum=["ok", "upstream_error", "cancelled", "orphaned"]),
    OpenApiParameter(
        "since", OpenApiTypes.DATETIME, description="From this time (inclusive). A date means midnight UTC."
    ),
    OpenApiParameter("until", OpenApiTypes.DATETIME, description="Until this time (exclusive)."),
    OpenApiParameter("end_user", str, description="End user as named in the calls."),
    OpenApiParameter("tag", str, description="name=value"),
]


class UsageSerializer(serializers.ModelSerializer[UsageRecord]):
    tenant = serializers.CharField(source="tenant.slug", read_only=True)
    key = serializers.IntegerField(source="api_key_id", read_only=True)

    class Meta:
        model = UsageRecord
        fields = FIELDS


def filtered(parameters: Any) -> QuerySet[UsageRecord]:
    """The ledger rows that match these query parameters. Raises ValidationError, which names the parameter."""
    rows = UsageRecord.objects.select_related("tenant")
    if slug := parameters.get("tenant"):
        # By id: with a join, the planner would have to guess how many rows this tenant has.
        rows = rows.filter(tenant=Tenant.objects.filter(slug=slug).values_list("pk", flat=True).first() or 0)
    names = {"model": "model", "status": "status", "end_user": "end_user"}
    for name, lookup in names.items():
        if value := parameters.get(name):
            rows = rows.filter(**{lookup: value})
    if key := parameters.get("key"):
        if not (key.isdecimal() and len(key) < 19):
            raise serializers.ValidationError({"key": ["A key ID is a number."]})
        rows = rows.filter(api_key_id=int(key))
    if tag := _tag(parameters):
        rows = tagged(rows, tag)
    if since := _moment(parameters, "since"):
        rows = rows.filter(created_at__gte=since)
    if until := _moment(parameters, "until"):
        rows = rows.filter(created_at__lt=until)
    return rows


def _tag(parameters: Any) -> str | None:
    tag: str | None = parameters.get("tag")
    if tag and "=" not in tag:
        raise serializers.ValidationError({"tag": ["Use name=value."]})
    return tag


def _moment(parameters: Any, name: str) -> datetime | None:
    text = parameters.get(name)
    if not text:
        return None
    try:
        moment = parse_datetime(text)
        if moment is None and (day := parse_date(text)):
            moment = datetime.combine(day, datetime.min.time())
        if moment is not None:
            # In UTC: PostgreSQL refuses offsets of more than 16 hours, which ISO 8601 allows.
            return (make_aware(moment) if is_naive(moment) else moment).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise serializers.ValidationError({name: ["Use ISO 8601, e.g. 2026-11-01T00:00:00Z."]})


@extend_schema(parameters=FILTERS)
class UsageListView(generics.ListAPIView[UsageRecord]):
    """The ledger, newest first, in cursor pages."""

    queryset = UsageRecord.objects.none()
    serializer_class = UsageSerializer
    pagination_class = UsagePages

    def get_queryset(self) -> QuerySet[UsageRecord]:
        return filtered(self.request.query_params)


class UsageCsvView(APIView):
    """The ledger as a streamed file. Once it is complete, the export log has its row count, control totals and SHA-256,
    under the number in `X-Tenantry-Export`.
    """

    @extend_schema(
        parameters=[
            *FILTERS,
            OpenApiParameter("columns", str, description="Comma-separated. Default: the ledger's fields."),
            OpenApiParameter(
                "timezone",
                str,
                description="Time zone of all times. Default: the tenant's, or UTC for all tenants.",
            ),
            OpenApiParameter("format", str, enum=list(exports.FORMATS)),
        ],
        responses={
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "application/gzip"): OpenApiTypes.BINARY,
            (200, "application/vnd.apache.parquet"): OpenApiTypes.BINARY,
        },
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        parameters = request.query_params
        try:
            export = exports.begin(
                export_filter(parameters),
                columns=[name for name in parameters.get("columns", "").split(",") if name]
                or exports.DEFAULT_COLUMNS,
                zone=_zone(parameters),
                file_format=parameters.get("format", "csv"),
                created_by=request.user,
            )
        except exports.BadExport as error:
            raise serializers.ValidationError({"detail": [error.message]}) from error
        response = streamed(
            request._request,
            lambda: exports.pieces(export),
            content_type=exports.CONTENT_TYPES[export.format],
            filename=f"usage.{export.format}",
        )
        response["X-Tenantry-Export"] = str(export.pk)
        return response


def export_filter(parameters: Any) -> exports.Filter:
    """The export's filter from query parameters. Raises ValidationError, which names the parameter."""
    key = parameters.get("key") or ""
    if key and not (key.isdecimal() and len(key) < 19):
        raise serializers.ValidationError({"key": ["A key ID is a number."]})
    return exports.Filter(
        tenant=parameters.get("tenant") or "",
        model=parameters.get("model") or "",
        key=int(key) if key else None,
        status=parameters.get("status") or "",
        end_user=parameters.get("end_user") or "",
        tag=_tag(parameters) or "",
        since=_moment(parameters, "since"),
        until=_moment(parameters, "until"),
    )


def _zone(parameters: Any) -> str:
    name = parameters.get("timezone")
    if not name:
        tenant = Tenant.objects.filter(slug=parameters.get("tenant") or "").first()
        return tenant.timezone if tenant else "UTC"
    if name not in available_timezones():
        raise serializers.ValidationError({"timezone": [f"Unknown time zone {name[:40]!r}."]})
    return str(name)


class UsageExportSerializer(serializers.ModelSerializer[UsageExport]):
    created_by = serializers.CharField(source="created_by.username", default=None, read_only=True)

    class Meta:
        model = UsageExport
        fields = (
            "id", "created_by", "created_at", "finished_at", "status", "format", "filters", "columns",
            "timezone", "rows", "totals", "digest", "file_digest", "error",
        )  # fmt: skip


class UsageExportViewSet(viewsets.ReadOnlyModelViewSet[UsageExport]):
    """The export log: the row count, control totals and digest of each complete file."""

    queryset = UsageExport.objects.select_related("created_by")
    serializer_class = UsageExportSerializer
    pagination_class = Pages
