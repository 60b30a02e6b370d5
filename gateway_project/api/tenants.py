"""The control API's tenants, keys and tiers."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, cast

from django.contrib.auth.models import User
from django.db import transaction
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from billing.ledger.balance import Balance, Movement, balance_of
from billing.meter.current_spend import budget_of, current_spend
from gateway_project.api.serializers import Pages, Strict
from routing.models import Model
from tenants.budget_mode import mode_changed
from tenants.keys import issue_key, refuse_past, revoke_key, rotate_key
from tenants.models import ApiKey, Tenant, Tier
from tenants.models.limits import Limits, release_refusal
from tenants.policy import BudgetMode
from tenants.starting_models import starting_models

LIMITS = (
    "max_requests_per_minute",
    "max_user_requests_per_minute",
    "max_concurrency",
    "max_tokens_per_day",
    "monthly_budget_usd",
    "user_monthly_budget_usd",
)
RELEASE = {"downgrade_percent", "downgrade_release_percent"}


def _shadow_tier() -> serializers.SlugRelatedField[Tier]:
    return serializers.SlugRelatedField(
        slug_field="name",
        queryset=Tier.objects.all(),
        required=False,
        allow_null=True,
        help_text="Its limits and routes are evaluated but not enforced. What they would have done is counted: see "
        "/api/usage/refusals.",
    )


class Spending(serializers.ListSerializer[Tenant]):
    """Reads the spend of a whole page in one round trip to Redis."""

    def to_representation(self, data: Any) -> list[Any]:
        tenants = list(data)
        for tenant, spent in zip(tenants, current_spend(tenants).values(), strict=True):
            tenant.spent_usd = spent
        return super().to_representation(tenants)


class TenantSerializer(Strict, serializers.ModelSerializer[Tenant]):
    tier = serializers.SlugRelatedField(slug_field="name", queryset=Tier.objects.all())
    allowed_models = serializers.SlugRelatedField(
        slug_field="name", many=True, queryset=Model.objects.all(), required=False
    )
    default_model = serializers.SlugRelatedField(
        slug_field="name", queryset=Model.objects.all(), required=False, allow_null=True
    )
    shadow_tier = _shadow_tier()
    current_spend_usd = serializers.SerializerMethodField()
    budget_remaining_usd = serializers.SerializerMethodField()

    class Meta:
        model = Tenant
        list_serializer_class = Spending
        fields = (
            "slug",
            "name",
            "tier",
            "status",
            "allowed_models",
            "default_model",
            *LIMITS,
            "downgrade_percent",
            "downgrade_release_percent",
            "shadow_tier",
            "margin_percent",
            "budget_mode",
            "alert_percents",
            "alert_emails",
            "timezone",
            "billing_day",
            "current_spend_usd",
            "budget_remaining_usd",
        )

    def get_current_spend_usd(self, tenant: Tenant) -> str:
        return f"{self._spend(tenant):.9f}"

    def get_budget_remaining_usd(self, tenant: Tenant) -> str | None:
        budget = budget_of(tenant)
        return None if budget is None else f"{max(Decimal(0), budget - self._spend(tenant)):.9f}"

    def _spend(self, tenant: Tenant) -> Decimal:
        spent: Decimal | None = getattr(tenant, "spent_usd", None)
        return current_spend([tenant])[tenant.pk] if spent is None else spent

    def validate_slug(self, slug: str) -> str:
        if self.instance and slug != self.instance.slug:
            raise serializers.ValidationError("A slug cannot be changed: exports and statements refer to it.")
        return slug

    def create(self, validated_data: dict[str, Any]) -> Tenant:
        validated_data["allowed_models"] = starting_models(
            tier=validated_data["tier"], chosen=validated_data.get("allowed_models")
        )
        tenant: Tenant = super().create(validated_data)
        return tenant

    def update(self, instance: Tenant, validated_data: dict[str, Any]) -> Tenant:
        tenant: Tenant = super().update(instance, validated_data)
        mode_changed(tenant)
        return tenant

    def check(self, row: Tenant, given: set[str]) -> None:
        default = row.default_model
        allowed = default is None or row.allowed_models.filter(pk=default.pk).exists()
        if default and not allowed and given & {"default_model", "allowed_models"}:
            _refuse_default(default, given)
        if given & RELEASE:
            own = row.downgrade_percent
            _check_release(row, row.tier.downgrade_percent if own is None else own)


def _refuse_default(default: Model, given: set[str]) -> None:
    if "default_model" in given:
        refusal = f"{default} is not in allowed_models. Add it there, or choose a different default_model."
        raise serializers.ValidationError({"default_model": [refusal]})
    refusal = f"{default} is the default model. Keep it in allowed_models, or change default_model too."
    raise serializers.ValidationError({"allowed_models": [refusal]})


def _check_release(row: Limits, threshold: int | None) -> None:
    if refusal := release_refusal(release=row.downgrade_release_percent, threshold=threshold):
        raise serializers.ValidationError({"downgrade_release_percent": [refusal]})


class MovementSerializer(serializers.Serializer[Movement]):
    day = serializers.DateField(help_text="In the tenant's time zone.")
    kind = serializers.CharField(help_text="topup, credit, correction, late_settle, or usage.")
    title = serializers.CharField()
    reference = serializers.CharField()
    amount_usd = serializers.DecimalField(20, 9)
    balance_usd = serializers.DecimalField(20, 9, help_text="Balance after this movement.")


class BalanceSerializer(serializers.Serializer[Balance]):
    """A live prepaid balance and its movements, newest first."""

    left_usd = serializers.DecimalField(20, 9)
    left_percent = serializers.IntegerField(help_text="Share of the balance after the last top-up.")
    after_top_up_usd = serializers.DecimalField(20, 9)
    movements = MovementSerializer(many=True)


class TenantViewSet(viewsets.ModelViewSet[Tenant]):
    """Tenants, by slug. Deleting one revokes its keys and hides it; its ledger stays."""

    queryset = (
        Tenant.objects.filter(deleted_at=None)
        .select_related("tier", "default_model")
        .prefetch_related("allowed_models")
        .order_by("slug")
    )
    serializer_class = TenantSerializer
    pagination_class = Pages
    lookup_field = "slug"

    @extend_schema(responses=BalanceSerializer)
    @action(detail=True, methods=["get"])
    def balance(self, request: Request, slug: str | None = None) -> Response:
        """A prepaid balance and its movements. 404 for tenants that are not prepaid."""
        tenant = self.get_object()
        if tenant.budget_mode != BudgetMode.PREPAID:
            raise NotFound(f"{tenant.slug} is not prepaid: it has a monthly budget.")
        return Response(BalanceSerializer(balance_of(tenant)).data)

    @transaction.atomic
    def perform_destroy(self, instance: Tenant) -> None:
        for key in instance.keys.filter(revoked_at=None):
            revoke_key(api_key=key)
        instance.deleted_at = timezone.now()
        instance.save(update_fields=["deleted_at"])


class KeySerializer(Strict, serializers.ModelSerializer[ApiKey]):
    class Meta:
        model = ApiKey
        fields = (
            "id",
            "name",
            "prefix",
            "max_requests_per_minute",
            "monthly_budget_usd",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
        )
        read_only_fields = ("id", "prefix", "created_at", "revoked_at", "last_used_at")

    def validate_expires_at(self, moment: datetime | None) -> datetime | None:
        """The current value may be sent back, even if it is in the past."""
        if self.instance is None or moment != self.instance.expires_at:
            refuse_past(moment)
        return moment


class IssuedKeySerializer(KeySerializer):
    """A new key. `key` is in this response only."""

    key = serializers.CharField(read_only=True)

    class Meta(KeySerializer.Meta):
        fields = ("key", *KeySerializer.Meta.fields)  # type: ignore[assignment]  # one field more


class RotationSerializer(Strict):
    overlap_seconds = serializers.IntegerField(
        default=86400,
        min_value=0,
        max_value=90 * 86400,
        help_text="How long the old key keeps working, in seconds.",
    )


class KeyViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.UpdateModelMixin, viewsets.GenericViewSet[ApiKey]
):
    """A tenant's keys. A key is shown once, when it is created or rotated."""

    serializer_class = KeySerializer
    pagination_class = Pages
    queryset = ApiKey.objects.none()
    lookup_value_regex = "[0-9]+"

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return ApiKey.objects.none()
        return self._tenant().keys.order_by("-created_at", "-id")

    def _tenant(self) -> Tenant:
        return get_object_or_404(Tenant, slug=self.kwargs["tenant_slug"], deleted_at=None)

    @extend_schema(request=KeySerializer, responses={201: IssuedKeySerializer})
    def create(self, request: Request, **kwargs: Any) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        issued = issue_key(
            tenant=self._tenant(), created_by=cast(User, request.user), **serializer.validated_data
        )
        return Response(
            {"key": issued.key, **self.get_serializer(issued.api_key).data}, status.HTTP_201_CREATED
        )

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, **kwargs: Any) -> Response:
        revoke_key(api_key=self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=RotationSerializer, responses={201: IssuedKeySerializer})
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, **kwargs: Any) -> Response:
        wish = RotationSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        overlap = timedelta(seconds=wish.validated_data["overlap_seconds"])
        try:
            issued = rotate_key(
                api_key=self.get_object(), overlap=overlap, created_by=cast(User, request.user)
            )
        except ValueError as error:
            raise serializers.ValidationError({"detail": str(error)}) from error
        return Response(
            {"key": issued.key, **self.get_serializer(issued.api_key).data}, status.HTTP_201_CREATED
        )


class TierSerializer(Strict, serializers.ModelSerializer[Tier]):
    shadow_tier = _shadow_tier()

    class Meta:
        model = Tier
        fields = (
            "name",
            "description",
            *LIMITS,
            "downgrade_percent",
            "downgrade_release_percent",
            "shadow_tier",
            "margin_percent",
        )

    def check(self, row: Tier, given: set[str]) -> None:
        if given & RELEASE:
            _check_release(row, row.downgrade_percent)


class TierViewSet(viewsets.ModelViewSet[Tier]):
    """Tiers: limits for all their tenants that do not set their own. Null is unlimited."""

    queryset = Tier.objects.order_by("name")
    serializer_class = TierSerializer
    pagination_class = Pages
    lookup_field = "name"
