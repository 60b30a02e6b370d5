"""`manage.py make_partitions`: make the ledger's monthly partitions, ahead or for the past."""

from argparse import ArgumentParser
from datetime import UTC, date, datetime
from typing import Any

from django.core.management.base import BaseCommand

from billing.ledger.partitions import MONTHS_AHEAD, make_partitions, rows_without_a_month


class Command(BaseCommand):
    help = "Creates the ledger's monthly partitions around today. Safe to repeat."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--ahead", type=int, default=MONTHS_AHEAD, help="future months (%(default)s)")
        parser.add_argument("--back", type=int, default=0, help="past months (%(default)s)")

    def handle(self, *args: Any, ahead: int, back: int, **options: Any) -> None:
        today = datetime.now(UTC).date()
        months = today.year * 12 + today.month - 1 - back
        first = date(months // 12, months % 12 + 1, 1)
        made = make_partitions(first=first, months=back + 1 + ahead)
        self.stdout.write(
            f"{made} partitions created; {rows_without_a_month()} rows are outside any monthly partition."
        )
