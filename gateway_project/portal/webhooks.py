"""A tenant's webhooks: owners add and remove them; all members see what was sent."""

import json

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST

from billing.address_guard import MAIL, validate_url
from billing.models import WebhookDelivery, WebhookEndpoint
from billing.webhooks.confirmation import address_of, ask, awaits_confirmation
from billing.webhooks.event_types import MEANINGS, offered
from billing.webhooks.publish import publish_test, redeliver
from billing.webhooks.signing import give_secret, rotate_secret
from gateway_project.outgoing_email import EmailNotSent, can_send
from gateway_project.portal.access import member, page
from tenants.models import Membership, Role
from tenants.people.email_limits import EmailLimit, TooManyEmails, count

MOST_BY_HAND = 60  # tests and redeliveries an hour, over all endpoints of a tenant


class NewEndpointForm(forms.Form):
    url = forms.CharField(
        max_length=2000, label="URL", help_text="https://…, or mailto:… to get emails instead."
    )
    events = forms.MultipleChoiceField(
        choices=[(each.value, MEANINGS[each]) for each in offered(to_tenant=True)],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="If none is selected, all events are sent.",
    )

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"].strip()
        validate_url(url)
        if url.startswith(MAIL) and not can_send():
            raise forms.ValidationError("This installation does not send email. Use an https:// address.")
        return url


@require_http_methods(["GET", "POST"])
@member()
def webhooks(request: HttpRequest, membership: Membership) -> HttpResponse:
    tenant = membership.tenant
    form = NewEndpointForm(request.POST or None)
    if request.method == "POST" and membership.role != Role.OWNER:
        raise PermissionDenied
    if form.is_valid():
        endpoint = WebhookEndpoint(
            tenant=tenant, url=form.cleaned_data["url"], events=form.cleaned_data["events"]
        )
        secret = give_secret(endpoint)
        endpoint.save()
        if endpoint.url.startswith(MAIL):
            _ask(request, endpoint)
            return redirect("portal:webhooks", tenant.slug)
        return _shown_once(request, membership, "New webhook", endpoint=endpoint, secret=secret)
    return page(
        request,
        membership,
        "webhooks",
        "Webhooks",
        endpoints=[
            (endpoint, awaits_confirmation(endpoint))
            for endpoint in WebhookEndpoint.objects.filter(tenant=tenant).select_related("tenant")
        ],
        form=form,
        deliveries=WebhookDelivery.objects.filter(endpoint__tenant=tenant)
        .select_related("endpoint")
        .order_by("-created_at")[:50],
    )


@member()
def delivery(request: HttpRequest, membership: Membership, delivery_id: int) -> HttpResponse:
    row = get_object_or_404(
        WebhookDelivery.objects.select_related("endpoint").prefetch_related("log"),
        pk=delivery_id,
        endpoint__tenant=membership.tenant,
    )
    payload = json.dumps(row.payload, indent=2, ensure_ascii=False)
    return page(request, membership, "delivery", "Delivery", under="webhooks", delivery=row, payload=payload)


@require_POST
@member(Role.DEVELOPER)
def test(request: HttpRequest, membership: Membership, endpoint_id: int) -> HttpResponse:
    endpoint = _endpoint(membership, endpoint_id)
    if awaits_confirmation(endpoint):
        messages.error(
            request, f"{address_of(endpoint)} has not been confirmed yet. Use the link we emailed to it."
        )
    elif _counted(request, membership):
        publish_test(endpoint)
        messages.success(request, "A test event is being sent. It will appear below.")
    return redirect("portal:webhooks", membership.tenant.slug)


@require_POST
@member(Role.DEVELOPER)
def again(request: HttpRequest, membership: Membership, delivery_id: int) -> HttpResponse:
    row = get_object_or_404(WebhookDelivery, pk=delivery_id, endpoint__tenant=membership.tenant)
    if _counted(request, membership):
        redeliver(row)
        messages.success(request, "The event is being sent again with the same ID.")
    return redirect("portal:webhooks", membership.tenant.slug)


@require_POST
@member(Role.OWNER)
def confirmation(request: HttpRequest, membership: Membership, endpoint_id: int) -> HttpResponse:
    """Mail the confirmation link again."""
    endpoint = _endpoint(membership, endpoint_id)
    if awaits_confirmation(endpoint):
        _ask(request, endpoint)
    return redirect("portal:webhooks", membership.tenant.slug)


@require_POST
@member(Role.OWNER)
def rotate(request: HttpRequest, membership: Membership, endpoint_id: int) -> HttpResponse:
    endpoint = _endpoint(membership, endpoint_id)
    secret = rotate_secret(endpoint)
    return _shown_once(request, membership, "New secret", endpoint=endpoint, secret=secret)


@require_POST
@member(Role.OWNER)
def remove(request: HttpRequest, membership: Membership, endpoint_id: int) -> HttpResponse:
    _endpoint(membership, endpoint_id).delete()
    messages.success(request, "The webhook has been removed.")
    return redirect("portal:webhooks", membership.tenant.slug)


def _ask(request: HttpRequest, endpoint: WebhookEndpoint) -> None:
    address = address_of(endpoint)
    try:
        ask(endpoint)
    except TooManyEmails as error:
        messages.error(request, str(error))
    except EmailNotSent as error:
        messages.error(request, f"The confirmation link for {address} was not sent: {error}.")
    else:
        messages.success(
            request,
            f"We've emailed a confirmation link to {address}. Events are sent there once it is confirmed.",
        )


def _counted(request: HttpRequest, membership: Membership) -> bool:
    """Whether another event may be sent by hand this hour; counts it."""
    name = f"event by hand:{membership.tenant_id}"
    try:
        count([EmailLimit("test events and resends from one organisation", name, MOST_BY_HAND)])
    except TooManyEmails as error:
        messages.error(request, str(error))
        return False
    return True


def _endpoint(membership: Membership, endpoint_id: int) -> WebhookEndpoint:
    return get_object_or_404(WebhookEndpoint, pk=endpoint_id, tenant=membership.tenant)


def _shown_once(
    request: HttpRequest, membership: Membership, title: str, *, endpoint: WebhookEndpoint, secret: str
) -> HttpResponse:
    return page(
        request, membership, "secret_issued", title, under="webhooks", endpoint=endpoint, secret=secret
    )
