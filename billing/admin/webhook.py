"""Webhook endpoints and their deliveries."""

import json
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import action, display

from billing.admin.webhook_form import EndpointForm
from billing.models import DeliveryStatus, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from billing.webhooks.confirmation import address_of, ask, awaits_confirmation
from billing.webhooks.endpoints import start_afresh
from billing.webhooks.publish import publish_test, redeliver
from billing.webhooks.signing import give_secret, rotate_secret
from gateway_project.console_kit import formatters
from gateway_project.console_kit.list_filters import Moments
from gateway_project.console_kit.pages import ConsolePage, CountlessPage, ReadOnlyInline
from gateway_project.outgoing_email import EmailNotSent
from tenants.people.email_limits import TooManyEmails


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ConsolePage):
    form = EndpointForm
    empty_text = "Add an endpoint to send budget, key, statement and reconciliation events to it."
    list_display = ("url", "owner", "state", "shown_events", "pending", "failed", "created_at")
    list_filter = (("tenant", AutocompleteSelectFilter), "enabled")
    list_select_related = ("tenant",)
    search_fields = ("url", "description", "tenant__slug")
    autocomplete_fields = ("tenant",)
    readonly_fields = (
        "disabled_at",
        "disabled_reason",
        "failing_since",
        "slow_until",
        "created_at",
        "updated_at",
    )
    fieldsets = (
        (None, {"fields": (("url", "tenant"), ("description", "enabled"), "events")}),
        ("State", {"fields": (("failing_since", "slow_until"), ("disabled_at", "disabled_reason"))}),
        ("Dates", {"fields": (("created_at", "updated_at"),)}),
    )

    actions_detail = ("send_test", "rotate")

    def get_queryset(self, request: HttpRequest) -> QuerySet[WebhookEndpoint]:
        return (
            super()
            .get_queryset(request)
            .annotate(
                pending_count=Count("deliveries", filter=Q(deliveries__status=DeliveryStatus.PENDING)),
                failed_count=Count("deliveries", filter=Q(deliveries__status=DeliveryStatus.FAILED)),
            )
        )

    def get_fieldsets(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> Any:
        return self.fieldsets if obj else self.fieldsets[:1]

    def get_readonly_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> Any:
        """The tenant is fixed, so that another tenant's events never start to arrive at an address."""
        return (*self.readonly_fields, "tenant") if obj else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        if change and obj.enabled and "enabled" in form.changed_data:
            start_afresh(obj)
        if not change:
            obj.plain_secret = give_secret(obj)  # type: ignore[attr-defined]  # for `response_add`
        super().save_model(request, obj, form, change)

    def response_add(
        self, request: HttpRequest, obj: WebhookEndpoint, post_url_continue: str | None = None
    ) -> HttpResponse:
        """The only page that ever shows the secret. An email address has none, and is asked to confirm."""
        if awaits_confirmation(obj):
            transaction.on_commit(partial(self._ask, request, obj))  # only after the admin's transaction
            return redirect("admin:billing_webhookendpoint_changelist")
        return self._shown_once(request, obj)

    @action(description="Send test", icon="send", url_path="test", permissions=["change"])
    def send_test(self, request: HttpRequest, object_id: int) -> HttpResponse:
        endpoint = get_object_or_404(WebhookEndpoint, pk=object_id)
        if request.method != "POST":
            told = "Sends a webhook.test event to this endpoint. The result is shown here."
            return self._confirm(request, endpoint, title="Send test event", consequence=told)
        if awaits_confirmation(endpoint):
            self._ask(request, endpoint)
            return redirect(reverse("admin:billing_webhookendpoint_change", args=[endpoint.pk]))
        delivery = publish_test(endpoint)
        messages.success(request, "A test event is being sent. Reload this page to see the result.")
        return redirect(reverse("admin:billing_webhookdelivery_change", args=[delivery.pk]))

    @action(description="New secret", icon="autorenew", url_path="rotate", permissions=["change"])
    def rotate(self, request: HttpRequest, object_id: int) -> HttpResponse:
        endpoint: Any = get_object_or_404(WebhookEndpoint, pk=object_id)
        if request.method != "POST":
            told = "Creates a new secret and shows it once. For 24 hours, events are also signed with the old secret."
            return self._confirm(request, endpoint, title="New secret", consequence=told)
        endpoint.plain_secret = rotate_secret(endpoint)
        self.log_change(
            request,
            endpoint,
            "Created a new secret. For 24 hours, events are also signed with the old one.",
        )
        return self._shown_once(request, endpoint)

    def _ask(self, request: HttpRequest, endpoint: WebhookEndpoint) -> None:
        address = address_of(endpoint)
        try:
            ask(endpoint)
        except (TooManyEmails, EmailNotSent) as error:
            messages.error(
                request,
                f"{address} must confirm before events are sent there, but no confirmation link was sent: {error}",
            )
        else:
            messages.warning(
                request,
                f"{address} must confirm before events are sent there. We've emailed a confirmation link.",
            )

    def _confirm(
        self, request: HttpRequest, endpoint: WebhookEndpoint, *, title: str, consequence: str
    ) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "endpoint": endpoint}
        context |= {"title": title, "verb": title, "consequence": consequence}
        return TemplateResponse(request, "admin/webhook_confirm.html", context)

    def _shown_once(self, request: HttpRequest, endpoint: WebhookEndpoint) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, "endpoint": endpoint}
        context["title"] = "Signing secret"
        return TemplateResponse(
            request, "admin/secret_issued.html", context, headers={"Cache-Control": "no-store"}
        )

    @display(description="For", ordering="tenant__slug")
    def owner(self, endpoint: WebhookEndpoint) -> str:
        return str(endpoint.tenant or "Operator")

    @display(
        description="State",
        label={"healthy": "success", "failing": "warning", "not confirmed": "warning", "disabled": "danger"},
    )
    def state(self, endpoint: WebhookEndpoint) -> str:
        if not endpoint.enabled:
            return "disabled"
        if awaits_confirmation(endpoint):
            return "not confirmed"
        return "failing" if endpoint.failing_since else "healthy"

    @display(description="Events")
    def shown_events(self, endpoint: WebhookEndpoint) -> str:
        unknown = endpoint.unknown_events
        return (
            ", ".join(f"{each} (unknown)" if each in unknown else each for each in endpoint.events) or "all"
        )

    @display(description="Pending", ordering="pending_count")
    def pending(self, endpoint: Any) -> int:
        return endpoint.pending_count

    @display(description="Failed", ordering="failed_count")
    def failed(self, endpoint: Any) -> int:
        return endpoint.failed_count


class AttemptInline(ReadOnlyInline):
    model = WebhookAttempt
    fields = ("number", "attempted_at", "http_status", "duration_ms", "error", "response")
    show_change_link = False


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(CountlessPage):
    empty_text = "Events sent to endpoints are listed here with their attempts."
    list_display = ("created", "event_type", "endpoint", "owner", "shown_status", "attempts", "last", "next")
    list_filter = (
        ("status", ChoicesDropdownFilter),
        ("endpoint", AutocompleteSelectFilter),
        ("created_at", Moments),
    )
    list_select_related = ("endpoint__tenant",)
    search_fields = ("event_id", "event_type", "endpoint__url")
    sortable_by = ("created",)
    inlines = (AttemptInline,)
    actions = ("redeliver",)
    actions_detail = ("redeliver_this",)
    fieldsets = (
        (None, {"fields": (("event_type", "event_id"), ("endpoint", "owner"), ("shown_status", "attempts"))}),
        ("When", {"fields": (("created_at", "delivered_at"), ("last_attempt_at", "next_attempt_at"))}),
        ("Last response", {"fields": (("last_status", "last_error"),)}),
        ("Payload", {"fields": ("shown_payload",)}),
    )
    readonly_fields = ("owner", "shown_status", "shown_payload")

    def has_redeliver_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("billing.change_webhookdelivery")

    @action(description="Resend now", permissions=["redeliver"])
    def redeliver(self, request: HttpRequest, queryset: QuerySet[WebhookDelivery]) -> None:
        """Send the same event again with the same id, by which receivers recognize it, and a new schedule."""
        count = WebhookDelivery.objects.filter(pk__in=queryset.values("pk")).update(
            status=DeliveryStatus.PENDING, attempts=0, next_attempt_at=timezone.now()
        )
        messages.success(request, f"{count} deliveries will be sent now.")

    @action(description="Resend", icon="replay", url_path="again", permissions=["redeliver"])
    def redeliver_this(self, request: HttpRequest, object_id: int) -> HttpResponse:
        delivery = get_object_or_404(WebhookDelivery, pk=object_id)
        back = reverse("admin:billing_webhookdelivery_change", args=[object_id])
        if request.method == "POST":
            redeliver(delivery)
            messages.success(request, "The event is being sent again. Reload this page to see the attempts.")
            return redirect(back)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "subject": delivery,
            "back": back,
        }
        context |= {
            "title": "Resend",
            "text": "The event is sent again with the same ID, so the receiver can recognise it.",
            "verb": "Resend",
        }
        return TemplateResponse(request, "admin/confirm.html", context)

    @display(description="Sent")
    def shown_payload(self, delivery: WebhookDelivery) -> SafeString:
        text = json.dumps(delivery.payload, indent=2, ensure_ascii=False)
        return format_html('<pre class="c-payload" tabindex="0">{}</pre>', text)

    @display(description="Created", ordering="created_at")
    def created(self, delivery: WebhookDelivery) -> str:
        return formatters.ago(delivery.created_at)

    @display(description="For")
    def owner(self, delivery: WebhookDelivery) -> str:
        return str(delivery.endpoint.tenant or "Operator")

    @display(
        description="Status",
        ordering="status",
        label={"Delivered": "success", "Failed": "danger", "Pending": "info"},
    )
    def shown_status(self, delivery: WebhookDelivery) -> str:
        return delivery.get_status_display()

    @display(description="Last response")
    def last(self, delivery: WebhookDelivery) -> str:
        return str(delivery.last_status or delivery.last_error or formatters.NOTHING)

    @display(description="Next attempt", ordering="next_attempt_at")
    def next(self, delivery: WebhookDelivery) -> str:
        return (
            formatters.ago(delivery.next_attempt_at)
            if delivery.status == DeliveryStatus.PENDING
            else formatters.NOTHING
        )
