"""Ask alert addresses to confirm as soon as they are set, so that the first alert need not wait for that."""

from datetime import timedelta

from django.utils import timezone

from billing.models import WebhookEndpoint
from billing.webhooks.confirmation import ask, awaits_confirmation
from billing.webhooks.endpoints import keep_alert_addresses
from billing.webhooks.event_types import EMAILED_TO_TENANTS
from gateway_project.outgoing_email import EmailNotSent, can_send
from tenants.models import Tenant
from tenants.people.email_limits import TooManyEmails

# How long an address counts as new. If its email fails, it is asked again with its next event.
NEW = timedelta(days=1)


def ask_new_alert_addresses() -> int:
    """Ask the addresses set since yesterday, each once. Returns how many were asked now."""
    if not can_send():
        return 0
    since = timezone.now() - NEW
    for tenant in Tenant.objects.filter(deleted_at=None, updated_at__gte=since).exclude(alert_emails=[]):
        keep_alert_addresses(tenant, EMAILED_TO_TENANTS)
    new = WebhookEndpoint.objects.filter(
        alert_address=True, enabled=True, confirmed_address="", created_at__gte=since, tenant__deleted_at=None
    )
    return sum(_ask(endpoint) for endpoint in new.select_related("tenant") if awaits_confirmation(endpoint))


def _ask(endpoint: WebhookEndpoint) -> bool:
    try:
        ask(endpoint, by_itself=True)
    except (TooManyEmails, EmailNotSent):  # asked already; or the log says why not
        return False
    return True
