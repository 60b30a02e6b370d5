"""The events that webhooks can get, and who may choose them."""

from collections.abc import Iterable
from enum import StrEnum


class EventType(StrEnum):
    THRESHOLD = "budget.threshold_reached"
    EXCEEDED = "budget.exceeded"
    RESET = "budget.reset"
    FORECAST = "budget.forecast"
    TOKENS_DAY = "tokens_day.reached"
    ANOMALY = "usage.anomaly"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    STATEMENT = "statement.closed"
    DRIFT = "books.drift"
    BILL = "bill.differs"
    ENDPOINT_DISABLED = "webhook.disabled"
    TEST = "webhook.test"


# One line for each, shown where they are chosen.
MEANINGS: dict[str, str] = {
    EventType.THRESHOLD: "Spend has reached an alert threshold of the budget (80, 90 and 100% by default).",
    EventType.EXCEEDED: "The whole budget is spent.",
    EventType.RESET: "A new billing period has started.",
    EventType.FORECAST: "At the current pace, the budget runs out before the period ends.",
    EventType.TOKENS_DAY: "The daily token limit has been reached.",
    EventType.ANOMALY: "The last hour cost far more than usual.",
    EventType.KEY_CREATED: "An API key was created.",
    EventType.KEY_REVOKED: "An API key was revoked.",
    EventType.STATEMENT: "A billing period is closed and its statement is ready.",
    EventType.DRIFT: "Live counters, ledger and daily totals differ. Operator only.",
    EventType.BILL: "The upstream's bill differs from the ledger. Operator only.",
    EventType.ENDPOINT_DISABLED: "A webhook was disabled because deliveries kept failing.",
    EventType.TEST: "A test event, sent manually. It is sent regardless of the selected events.",
}
# Sent only to the operator.
INTERNAL = {EventType.DRIFT, EventType.BILL}
# Emailed to a tenant's alert addresses, and below to the operator's.
EMAILED_TO_TENANTS = [
    each.value
    for each in (
        EventType.THRESHOLD,
        EventType.EXCEEDED,
        EventType.FORECAST,
        EventType.TOKENS_DAY,
        EventType.ANOMALY,
        EventType.STATEMENT,
        EventType.ENDPOINT_DISABLED,
    )
]
EMAILED_TO_OPERATORS = [
    each.value
    for each in (
        EventType.EXCEEDED,
        EventType.ANOMALY,
        EventType.DRIFT,
        EventType.BILL,
        EventType.ENDPOINT_DISABLED,
    )
]


def offered(*, to_tenant: bool) -> list[EventType]:
    """The events an endpoint can choose. A test is not one: it is sent whatever was chosen."""
    hidden = {EventType.TEST, *INTERNAL} if to_tenant else {EventType.TEST}
    return [each for each in EventType if each not in hidden]


def unknown(events: Iterable[str]) -> list[str]:
    """Those of `events` that do not exist."""
    known = {each.value for each in EventType}
    return [each for each in events if each not in known]


def refusal(events: Iterable[str], *, of_tenant: bool) -> str:
    """Why `events` cannot be chosen for a tenant's endpoint or the operator's; empty if they can."""
    chosen = list(events)
    if missing := unknown(chosen):
        known = ", ".join(offered(to_tenant=of_tenant))
        return f"Unknown event {', '.join(missing)}. Choose from: {known}."
    if of_tenant and (internal := [each for each in chosen if each in INTERNAL]):
        return f"{', '.join(internal)} is only sent to the operator's own endpoints, not to a tenant's."
    return ""
