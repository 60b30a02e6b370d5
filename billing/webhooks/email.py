"""Events by email, from the same outbox as webhooks."""

from collections import defaultdict

from django.core.mail import EmailMessage

from billing.address_guard import MAIL
from billing.models import WebhookDelivery, WebhookEndpoint
from billing.webhooks.confirmation import ask, awaits_confirmation
from billing.webhooks.event_types import EventType
from gateway_project.outgoing_email import EmailNotSent, one_line, send
from tenants.people.email_limits import EmailLimit, TooManyEmails, count

# Customers cause events, for example with every key they issue. Emails beyond this wait for the next hour.
MOST_FOR_A_TENANT = 200
MOST_FOR_AN_ADDRESS = 60
MOST_FOR_AN_OPERATOR = 600

_SUBJECTS = {
    EventType.THRESHOLD: "{tenant} has used {threshold_percent}% of its budget",
    EventType.EXCEEDED: "{tenant} has used all of its budget",
    EventType.RESET: "{tenant}: a new billing period has started",
    EventType.FORECAST: "{tenant}: at the current pace, the budget runs out on {budget_ends_on}",
    EventType.TOKENS_DAY: "{tenant} has reached its daily token limit",
    EventType.ANOMALY: "{tenant}: unusual spend",
    EventType.KEY_CREATED: "{tenant}: the API key {name} was created",
    EventType.KEY_REVOKED: "{tenant}: the API key {name} was revoked",
    EventType.STATEMENT: "{tenant}: the statement for {period_start} is ready",
    EventType.DRIFT: "{tenant}: ledger mismatch",
    EventType.BILL: "The upstream's bill differs from the ledger",
    EventType.ENDPOINT_DISABLED: "A webhook was disabled: {url}",
    EventType.TEST: "Test email",
}


def send_email(delivery: WebhookDelivery) -> None:
    """Send a delivery's event. Raises EmailNotSent: no mail server, an unconfirmed address, or too many this hour."""
    endpoint = delivery.endpoint
    try:
        if awaits_confirmation(endpoint):
            raise EmailNotSent(_unconfirmed(endpoint))
        count(_limits(endpoint))
    except TooManyEmails as error:
        raise EmailNotSent(str(error), retry_after=error.retry_after) from error
    send(email_of(delivery))


def _unconfirmed(endpoint: WebhookEndpoint) -> str:
    """Ask for a confirmation again, in case the first link was lost. Returns why nothing is sent now."""
    try:
        ask(endpoint, by_itself=True)
    except TooManyEmails:
        pass  # asked recently
    except EmailNotSent as error:
        return f"the address is not confirmed, and the confirmation email could not be sent: {error}"
    return "the address has not been confirmed yet"


def _limits(endpoint: WebhookEndpoint) -> list[EmailLimit]:
    whose = "operator" if endpoint.tenant_id is None else str(endpoint.tenant_id)
    most = MOST_FOR_AN_OPERATOR if endpoint.tenant_id is None else MOST_FOR_AN_ADDRESS
    address = endpoint.url.removeprefix(MAIL).lower()
    limits = [EmailLimit("emails to one address", f"event:{whose}:{address}", most)]
    if endpoint.tenant_id is not None:
        limits += [EmailLimit("emails from one organisation", f"event:{whose}", MOST_FOR_A_TENANT)]
    return limits


def email_of(delivery: WebhookDelivery) -> EmailMessage:
    """The delivery's event as an email for people, with the same Message-ID for every attempt.

    A worker that dies between the mail server's "accepted" and the commit sends the email again. By the id, mail
    servers and clients recognize it as the same email.
    """
    facts = {name: value for name, value in delivery.payload["data"].items() if value is not None}
    subject = _SUBJECTS[EventType(delivery.event_type)]
    title = subject.format_map(defaultdict(lambda: "?", facts))
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()]
    lines += ["", f"{delivery.event_type} of {delivery.payload.get('timestamp', '')}, {delivery.event_id}"]
    return EmailMessage(
        subject=f"[Tenantry] {one_line(title)}",
        body="\n".join(lines),
        to=[delivery.endpoint.url.removeprefix(MAIL)],
        headers={
            "Message-ID": f"<{delivery.event_id}.{delivery.endpoint_id}@tenantry>",
            "Auto-Submitted": "auto-generated",
        },
    )
