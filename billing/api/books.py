"""The control API's statements and adjustments."""

from typing import Any

from django.db import IntegrityError
from rest_framework import mixins, serializers, viewsets

from billing.api.strict import Pages, Strict
from billing.models import Adjustment, Statement
from billing.spend import counter_of
from tenants.models import Tenant


class StatementSerializer(serializers.ModelSerializer[Statement]):
    tenant = serializers.CharField(source="tenant.slug", read_only=True)

    class Meta:
        model = Statement
        fields = "__all__"


class StatementViewSet(viewsets.ReadOnlyModelViewSet[Statement]):
    """Closed months."""

    queryset = Statement.objects.select_related("tenant").order_by("-period_start", "tenant__slug")
    serializer_class = StatementSerializer
    pagination_class = Pages


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
        values = serializer.validated_data
        values.setdefault("period_start", counter_of(values["tenant"])[1])
        try:
            serializer.save(created_by=self.request.user)
        except IntegrityError as error:
            raise serializers.ValidationError(
                {"detail": "The books refuse this: " + str(error).split("\n")[0]}
            ) from error
