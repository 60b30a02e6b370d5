"""Prices, usage, money and webhooks."""

from billing.models.adjustment import Adjustment, AdjustmentKind
from billing.models.bill_check import BillCheck
from billing.models.budget_alert import AlertKind, AlertScope, BudgetAlert
from billing.models.daily_tag_usage import DailyTagUsage
from billing.models.daily_total import DailyTotal
from billing.models.daily_usage import DailyUsage
from billing.models.daily_verdict import DailyVerdict
from billing.models.drift_report import DriftReport
from billing.models.ledger_archive import LedgerArchive
from billing.models.ledger_batch import LedgerBatch
from billing.models.model_price import ModelPrice
from billing.models.period_usage import PeriodUsage
from billing.models.prepaid_balance import PrepaidBalance
from billing.models.statement import Statement
from billing.models.upstream_usage import UpstreamUsage
from billing.models.usage_export import ExportStatus, UsageExport
from billing.models.usage_record import UsageRecord, UsageStatus, Wire
from billing.models.webhook_attempt import WebhookAttempt
from billing.models.webhook_delivery import DeliveryStatus, WebhookDelivery
from billing.models.webhook_endpoint import WebhookEndpoint

__all__ = [
    "Adjustment",
    "AdjustmentKind",
    "AlertKind",
    "AlertScope",
    "BillCheck",
    "BudgetAlert",
    "DailyTagUsage",
    "DailyTotal",
    "DailyUsage",
    "DailyVerdict",
    "DeliveryStatus",
    "DriftReport",
    "ExportStatus",
    "LedgerArchive",
    "LedgerBatch",
    "ModelPrice",
    "PeriodUsage",
    "PrepaidBalance",
    "Statement",
    "UpstreamUsage",
    "UsageExport",
    "UsageRecord",
    "UsageStatus",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookEndpoint",
    "Wire",
]
