"""Periodic tasks. Each may run twice without harm, and catches up on what an outage made it miss."""

from celery import shared_task
from django.conf import settings

from billing.alerts.notices import LOOK_BACK, announce_keys, notice_limits, notice_usage
from billing.alerts.thresholds import catch_up
from billing.ledger.adjustments import end_grants
from billing.ledger.partitions import make_partitions
from billing.ledger.reconcile import reconcile
from billing.statements.closing import close_due
from billing.upstream_bill.comparison import check_recent
from billing.upstream_bill.http_report import import_report
from billing.webhooks.alert_addresses import ask_new_alert_addresses
from billing.webhooks.deliver import deliver_due
from gateway_project.ground.one_by_one import each_of
from tenants.budget_mode import forget_idle_counters


@shared_task
def keep_partitions_ahead() -> int:
    return make_partitions()


@shared_task
def hold_the_books_together() -> int:
    return reconcile()


@shared_task
def deliver_webhooks() -> int:
    return deliver_due()


@shared_task
def announce() -> int:
    """Publish keys that were made or revoked; then deliver what is due, even if that failed."""
    return each_of(announce_keys, lambda: deliver_due(seconds=5))


@shared_task
def check_upstream_bill() -> int:
    """Import the report's new days, if there is a report; then compare recent days again, for late rows."""

    def fetch() -> int:
        if settings.UPSTREAM_BILL_URL:
            import_report()
        return 0

    return each_of(fetch, lambda: len(check_recent()))


@shared_task
def watch_limits() -> int:
    return each_of(forget_idle_counters, catch_up, notice_limits)


@shared_task
def watch_usage() -> int:
    return each_of(notice_usage, lambda: announce_keys(LOOK_BACK), ask_new_alert_addresses)


@shared_task
def close_periods() -> int:
    return close_due()


@shared_task
def end_budget_grants() -> int:
    return end_grants()
