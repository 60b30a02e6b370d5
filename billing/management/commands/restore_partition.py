"""`manage.py restore_partition 2024-01`: put an archived month back into the ledger."""

from datetime import UTC, date, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.ledger.archive import CannotArchive, restore_month


class Command(BaseCommand):
    help = "Verifies an archived month's file and restores its rows. The file is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("month", type=_month, help="such as 2024-01")

    def handle(self, *args: Any, month: date, **options: Any) -> None:
        try:
            restored = restore_month(month)
        except CannotArchive as refusal:
            raise CommandError(refusal.message) from refusal
        self.stdout.write(f"{restored}: {restored.rows:,} rows restored.")


def _month(text: str) -> date:
    return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
