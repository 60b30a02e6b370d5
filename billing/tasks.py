"""Periodic work. Each task is harmless twice and looks back over what an outage missed."""

from celery import shared_task

from billing.books import reconcile
from billing.partitions import make_partitions


@shared_task
def keep_partitions_ahead() -> int:
    return make_partitions()


@shared_task
def hold_the_books_together() -> int:
    return reconcile()
