"""The control API's webhooks."""

import logging
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from billing.address_guard import validate_url
from billing.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from billing.webhooks.confirmation import ask, awaits_confirmation
from billing.webhooks.endpoints import start_afresh
from billing.webhooks.event_types import EventType, refusal
from billing.webhooks.publish import publish_test, redeliver
from billing.webhooks.signing import give_secret, rotate_secret
from gateway_project.api.serializers import Pages, Strict
from gateway_project.outgoing_email import EmailNotSent
from tenants.models import Tenant
from tenants.people.email_limits import TooManyEmails

logger = logging.getLogger(__name__)


class WebhookSerializer(Strict, serializers.ModelSerializer[WebhookEndpoint]):
    tenant = serializers.SlugRelatedField(
        slug_field="slug",
        queryset=Tenant.objects.filter(deleted_at=None),
        required=False,
        allow_null=True,
        help_text="null for the operator's own endpoint, which receives the events of every tenant.",
    )
    events = serializers.ListField(
        child=serializers.ChoiceField(choices=[each.value for each in EventType]),
        required=False,
        help_text="If empty, all events are sent. Only operator endpoints get `books.drift` and `bill.differs`.",
    )

    confirmed = serializers.SerializerMethodField(
        help_text="false for a mailto: address that has not confirmed with the emailed link. Nothing is sent to it."
    )

    class Meta:
        model = WebhookEndpoint
        fields: tuple[str, ...] = (
            "id",
            "tenant",
            "url",
            "description",
            "events",
            "enabled",
            "confirmed",
            "disabled_at",
            "disabled_reason",
            "failing_since",
            "created_at",
        )
        read_only_fields = ("id", "disabled_at", "disabled_reason", "failing_since", "created_at")

    def get_confirmed(self, endpoint: WebhookEndpoint) -> bool:
        return not awaits_confirmation(endpoint)

    def validate_url(self, url: str) -> str:
        try:
            validate_url(url)
        except ValidationError as error:
            raise serializers.ValidationError(error.messages) from error
        return url

    @transaction.atomic
    def update(self, instance: WebhookEndpoint, validated_data: dict[str, Any]) -> WebhookEndpoint:
        """Enabling it again is a fresh start."""
        was = WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=instance.pk)
        endpoint: WebhookEndpoint = super().update(instance, validated_data)
        if endpoint.enabled and not was.enabled:
            start_afresh(endpoint)
            endpoint.save()
        return endpoint

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        tenant = self.instance.tenant if self.instance else attrs.get("tenant")
        had = self.instance.events if self.instance else []
        added = [each for each in attrs.get("events", []) if each not in had]
        if exception_handler := refusal(added, of_tenant=tenant is not None):
            raise serializers.ValidationError({"events": [exception_handler]})
        return attrs

    def validate_tenant(self, tenant: Tenant | None) -> Tenant | None:
        if self.instance and tenant != self.instance.tenant:
            raise serializers.ValidationError(
                "An endpoint's tenant cannot be changed. Create another endpoint."
            )
        return tenant


class IssuedSerializer(WebhookSerializer):
    """With the secret, once."""

    secret = serializers.CharField(read_only=True)

    class Meta(WebhookSerializer.Meta):
        fields: tuple[str, ...] = (*WebhookSerializer.Meta.fields, "secret")


class AttemptSerializer(serializers.ModelSerializer[WebhookAttempt]):
    class Meta:
        model = WebhookAttempt
        fields = ("number", "attempted_at", "duration_ms", "http_status", "error", "response")


class DeliverySerializer(serializers.ModelSerializer[WebhookDelivery]):
    log = AttemptSerializer(many=True, read_only=True)

    class Meta:
        model = WebhookDelivery
        fields = (
            "id",
            "event_id",
            "event_type",
            "payload",
            "status",
            "attempts",
            "next_attempt_at",
            "last_attempt_at",
            "last_status",
            "last_error",
            "delivered_at",
            "created_at",
            "log",
        )


def _ask(endpoint: WebhookEndpoint) -> None:
    """Ask the address to confirm. If that fails, it is asked again with its first event."""
    try:
        ask(endpoint)
    except (TooManyEmails, EmailNotSent) as error:
        logger.warning("The address of webhook %s was not asked to confirm: %s", endpoint.pk, error)


class WebhookViewSet(viewsets.ModelViewSet[WebhookEndpoint]):
    """Where events are sent. `POST` and `rotate` return the secret, which is never shown again."""

    queryset = WebhookEndpoint.objects.select_related("tenant").order_by("-created_at", "-id")
    serializer_class = WebhookSerializer
    pagination_class = Pages

    def get_queryset(self) -> Any:
        """All endpoints, or those of `?tenant=slug`."""
        tenant = self.request.query_params.get("tenant")
        return self.queryset.filter(tenant__slug=tenant) if tenant else self.queryset

    @extend_schema(responses={201: IssuedSerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        endpoint = WebhookEndpoint(**serializer.validated_data)
        secret = give_secret(endpoint)
        endpoint.save()
        if awaits_confirmation(endpoint):
            _ask(endpoint)
        return Response({**self.get_serializer(endpoint).data, "secret": secret}, status.HTTP_201_CREATED)

    @extend_schema(request=None, responses=IssuedSerializer)
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, pk: str | None = None) -> Response:
        """Create a new secret. For 24 hours, events are also signed with the old one."""
        endpoint = self.get_object()
        secret = rotate_secret(endpoint)
        return Response({**self.get_serializer(endpoint).data, "secret": secret})

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str | None = None) -> Response:
        """Send a `webhook.test` event."""
        delivery = publish_test(self.get_object())
        return Response(DeliverySerializer(delivery).data, status.HTTP_202_ACCEPTED)

    @extend_schema(responses=DeliverySerializer(many=True))
    @action(detail=True)
    def deliveries(self, request: Request, pk: str | None = None) -> Response:
        """Deliveries with all their attempts, newest first."""
        rows: Any = self.get_object().deliveries.prefetch_related("log").order_by("-created_at", "-id")
        page: Any = self.paginate_queryset(rows)
        return self.get_paginated_response(DeliverySerializer(page, many=True).data)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"], url_path=r"deliveries/(?P<delivery_id>\d+)/redeliver")
    def redeliver(self, request: Request, delivery_id: str, pk: str | None = None) -> Response:
        """Send an event again with the same ID."""
        delivery = self.get_object().deliveries.filter(pk=delivery_id).first()
        if delivery is None:
            raise serializers.ValidationError({"delivery": "This endpoint has no such delivery."})
        redeliver(delivery)
        return Response(DeliverySerializer(delivery).data, status.HTTP_202_ACCEPTED)
