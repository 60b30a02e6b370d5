"""The control API's models and prices."""

from typing import Any

from rest_framework import mixins, serializers, viewsets

from billing.api.strict import Pages, Strict
from billing.models import ModelPrice
from routing.models import Model


class ModelSerializer(Strict, serializers.ModelSerializer[Model]):
    downgrade_to = serializers.SlugRelatedField(
        slug_field="name", queryset=Model.objects.all(), required=False, allow_null=True
    )
    fallback_to = serializers.SlugRelatedField(
        slug_field="name", queryset=Model.objects.all(), required=False, allow_null=True
    )

    class Meta:
        model = Model
        fields = (
            "name",
            "upstream_name",
            "aliases",
            "family",
            "context_window",
            "max_output_tokens",
            "downgrade_to",
            "fallback_to",
            "enabled",
        )


class ModelViewSet(viewsets.ModelViewSet[Model]):
    """The catalogue, by public name."""

    queryset = Model.objects.select_related("downgrade_to", "fallback_to").order_by("name")
    serializer_class = ModelSerializer
    pagination_class = Pages
    lookup_field = "name"
    lookup_value_regex = "[^/]+"


class PriceSerializer(Strict, serializers.ModelSerializer[ModelPrice]):
    model = serializers.SlugRelatedField(slug_field="name", queryset=Model.objects.all(), allow_null=True)

    class Meta:
        model = ModelPrice
        fields = (
            "id",
            "model",
            "effective_from",
            "context_over_tokens",
            "input_usd",
            "output_usd",
            "cache_read_usd",
            "cache_write_5m_usd",
            "cache_write_1h_usd",
            "web_search_usd",
            "source",
            "created_at",
        )
        read_only_fields = ("id", "created_at")


class PriceViewSet(
    mixins.CreateModelMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    viewsets.GenericViewSet[ModelPrice],
):
    """The price list, USD per 1M tokens. A price is superseded by a later one, never edited."""

    queryset = ModelPrice.objects.select_related("model").order_by("-effective_from", "-id")
    serializer_class = PriceSerializer
    pagination_class = Pages

    def perform_create(self, serializer: Any) -> None:
        serializer.save(created_by=self.request.user)
