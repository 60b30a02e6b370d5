"""The control API's models and prices."""

from decimal import Decimal
from typing import Any, ClassVar

from rest_framework import mixins, serializers, viewsets

from billing.models import ModelPrice
from billing.prices.rates import CACHED, PRICE_COLUMNS, Rates, with_cached_as_input
from billing.prices.unit_check import slips
from gateway_project.api.serializers import Pages, Strict
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
            "embeds",
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
    model = serializers.SlugRelatedField(
        slug_field="name",
        queryset=Model.objects.all(),
        allow_null=True,
        help_text="If null, the default for models without a price. Calls charged at it are flagged as estimated.",
    )
    confirmed = serializers.BooleanField(
        write_only=True,
        default=False,
        help_text="Accept a price that is far from what similar models cost.",
    )

    class Meta:
        model = ModelPrice
        fields = (
            "id",
            "model",
            "effective_from",
            "context_over_tokens",
            *PRICE_COLUMNS,
            "source",
            "created_at",
            "confirmed",
        )
        read_only_fields = ("id", "created_at")
        extra_kwargs: ClassVar[dict[str, Any]] = {
            name: {"required": False, "help_text": "If omitted, the input price is used."} for name in CACHED
        }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        columns = with_cached_as_input({"web_search_usd": Decimal(0), **attrs})
        confirmed = columns.pop("confirmed")
        rates = Rates(**{name: columns[f"{name}_usd"] for name in Rates.__struct_fields__})
        doubts = slips(attrs["model"], rates)
        if doubts and not confirmed:
            again = 'If it is correct, send "confirmed": true.'
            raise serializers.ValidationError(
                {
                    **{name: [exception_handler] for name, exception_handler in doubts.items()},
                    "confirmed": [again],
                }
            )
        return columns


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
