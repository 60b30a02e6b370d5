"""The control API's statements and adjustments."""

from typing import Any, cast

from django.contrib.auth.models import User
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request

from billing.ledger.adjustments import AlreadyBooked, book
from billing.models import Adjustment, Statement
from billing.statements.csv_file import statement_csv
from gateway_project.api.serializers import Pages, Strict
from tenants.models import Tenant


class StatementSerializer(serializers.ModelSerializer[Statement]):
    tenant = serializers.CharField(source="tenant.slug", read_only=True)

    class Meta:
        model = Statement
        fields = "__all__"


class StatementViewSet(viewsets.ReadOnlyModelViewSet[Statement]):
    """Statements of closed billing periods."""

    queryset = Statement.objects.select_related("tenant").order_by("-period_start", "tenant__slug")
    serializer_class = StatementSerializer
    pagination_class = Pages

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.STR})
    @action(detail=True)
    def csv(self, request: Request, pk: str | None = None) -> HttpResponse:
        """A statement's lines as CSV. The last row is the total."""
        statement = self.get_object()
        return _file(statement, statement_csv(statement), "csv", "text/csv; charset=utf-8")

    @extend_schema(responses={(200, "application/pdf"): OpenApiTypes.BINARY})
    @action(detail=True)
    def pdf(self, request: Request, pk: str | None = None) -> HttpResponse:
        """A statement as PDF."""
        statement = self.get_object()
        from billing.statements.pdf import statement_pdf  # imported late: it takes 20 MB

        return _file(statement, statement_pdf(statement), "pdf", "application/pdf")


def _file(statement: Statement, content: str | bytes, ending: str, kind: str) -> HttpResponse:
    name = f"statement-{statement.tenant.slug}-{statement.period_start}.{ending}"
    return HttpResponse(
        content, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


class AdjustmentSerializer(Strict, serializers.ModelSerializer[Adjustment]):
    tenant = serializers.SlugRelatedField(slug_field="slug", queryset=Tenant.objects.all())
    period_start = serializers.DateField(required=False, help_text="Default: the current period.")

    class Meta:
        model = Adjustment
        fields = (
            "id",
            "tenant",
            "kind",
            "amount_usd",
            "reason",
            "reference",
            "period_start",
            "expires_at",
            "created_at",
        )
        read_only_fields = ("id", "created_at")
        # A known reference gets the earlier booking as its response, so it is no error.
        validators: list[Any] = []


class AdjustmentViewSet(
    mixins.CreateModelMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    viewsets.GenericViewSet[Adjustment],
):
    """Credits, corrections, grants and top-ups. Booked once, never edited."""

    queryset = Adjustment.objects.select_related("tenant").order_by("-created_at")
    serializer_class = AdjustmentSerializer
    pagination_class = Pages

    def perform_create(self, serializer: Any) -> None:
        try:
            serializer.instance = book(**serializer.validated_data, by=cast(User, self.request.user))
        except AlreadyBooked as error:
            raise serializers.ValidationError({"reference": [error.message]}) from error
