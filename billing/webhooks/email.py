"""Events as letters: the second channel, from the same outbox as the first."""

from collections import defaultdict

from django.core.mail import EmailMessage

from billing.address_guard import MAIL
from billing.models import WebhookDelivery
from billing.webhooks.event_types import EventType

_SUBJECTS = {
    EventType.THRESHOLD: "{tenant} has used {threshold_percent} % of its budget",
    EventType.EXCEEDED: "{tenant} has used all of its budget",
    EventType.RESET: "{tenant}: a new billing period has begun",
    EventType.FORECAST: "{tenant}: at this pace the budget ends on {budget_ends_on}",
    EventType.TOKENS_DAY: "{tenant} has used its tokens of the day",
    EventType.ANOMALY: "{tenant}: unusual spend",
    EventType.KEY_CREATED: "{tenant}: the key {name} was made",
    EventType.KEY_REVOKED: "{tenant}: the key {name} was revoked",
    EventType.STATEMENT: "{tenant}: the statement of {period_start} is closed",
    EventType.DRIFT: "{tenant}: the books differ",
    EventType.BILL: "The upstream's bill differs from the ledger",
    EventType.ENDPOINT_DISABLED: "A webhook was switched off: {url}",
    EventType.TEST: "A test of this address",
}


def letter(delivery: WebhookDelivery) -> EmailMessage:
    """The delivery's event for people, with the same Message-ID at every attempt.

    A worker that dies between the mail server's "accepted" and the commit sends the letter again; by its id mail
    servers and readers take the two for one.
    """
    facts = {name: value for name, value in delivery.payload["data"].items() if value is not None}
    subject = _SUBJECTS[EventType(delivery.event_type)]
    title = subject.format_map(defaultdict(lambda: "?", facts))
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()]
    lines += ["", f"{delivery.event_type} of {delivery.payload.get('timestamp', '')}, {delivery.event_id}"]
    return EmailMessage(
        subject=f"[Tenantry] {' '.join(title.split())}",  # a line break in a key's name must not end the header
        body="\n".join(lines),
        to=[delivery.endpoint.url.removeprefix(MAIL)],
        headers={
            "Message-ID": f"<{delivery.event_id}.{delivery.endpoint_id}@tenantry>",
            "Auto-Submitted": "auto-generated",
        },
    )
