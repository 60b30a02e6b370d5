"""Endpoints that are made automatically (alert addresses), and the reset of one that is enabled again."""

from django.conf import settings

from billing.address_guard import MAIL
from billing.models import WebhookEndpoint
from billing.webhooks.signing import give_secret
from tenants.models import Tenant

_STRUCK_OFF = "No longer an alert address."


def keep_alert_addresses(tenant: Tenant | None, events: list[str]) -> None:
    """Keep an email endpoint for each of the tenant's alert addresses; for the operator, of `OPERATOR_EMAILS`.

    An address removed from the list is disabled, and enabled when it is back. A new one gets `events`, which can be
    changed on it afterwards.
    """
    addresses = tenant.alert_emails if tenant else settings.OPERATOR_EMAILS
    wanted = {f"{MAIL}{address}" for address in addresses}
    kept = WebhookEndpoint.objects.filter(tenant=tenant, alert_address=True)
    known = set(kept.values_list("url", flat=True))
    if known - wanted:
        kept.filter(enabled=True).exclude(url__in=wanted).update(enabled=False, disabled_reason=_STRUCK_OFF)
    kept.filter(url__in=wanted, enabled=False, disabled_reason=_STRUCK_OFF).update(
        enabled=True, disabled_reason=""
    )
    new = [
        WebhookEndpoint(
            tenant=tenant, url=url, description="alert address", events=events, alert_address=True
        )
        for url in sorted(wanted - known)
    ]
    for endpoint in new:
        give_secret(endpoint)
    WebhookEndpoint.objects.bulk_create(new, ignore_conflicts=True)


def start_afresh(endpoint: WebhookEndpoint) -> None:
    """Enable the endpoint, reset its failures, and make what waited for it due. The caller saves it."""
    endpoint.enabled = True
    endpoint.disabled_at, endpoint.disabled_reason = None, ""
    endpoint.failing_since, endpoint.slow_until = None, None
