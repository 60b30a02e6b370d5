"""The console's pages for prices, usage, money and webhooks."""

from billing.admin import (
    adjustment,
    books,
    budget_alert,
    daily,
    export,
    model_price,
    prepaid_balance,
    statement,
    upstream_bill,
    usage,
    webhook,
)

__all__ = [
    "adjustment",
    "books",
    "budget_alert",
    "daily",
    "export",
    "model_price",
    "prepaid_balance",
    "statement",
    "upstream_bill",
    "usage",
    "webhook",
]
