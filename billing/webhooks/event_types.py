"""What webhooks and alert addresses can be told of."""

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


# What a tenant's alert addresses are told, and the operator's.
LETTERS = [
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
OPERATORS_LETTERS = [
    each.value
    for each in (
        EventType.EXCEEDED,
        EventType.ANOMALY,
        EventType.DRIFT,
        EventType.BILL,
        EventType.ENDPOINT_DISABLED,
    )
]
# What only the operator hears of.
INTERNAL = {EventType.DRIFT, EventType.BILL}
