"""`manage.py archive_partitions`: move old months of the ledger into files, each read back before it is dropped."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.ledger.archive import KEEP_AT_LEAST_MONTHS, CannotArchive, archive_month, months_to_archive


class Command(BaseCommand):
    help = "Moves months of the ledger that are older than --keep months into compressed CSV files, each with a digest."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--keep", type=int, default=24, help=f"months, {KEEP_AT_LEAST_MONTHS} or more (%(default)s)"
        )
        parser.add_argument(
            "--to", type=Path, default=settings.DATA_DIR / "archive", help="folder (%(default)s)"
        )
        parser.add_argument("--dry-run", action="store_true", help="only show which months would be archived")

    def handle(self, *args: Any, keep: int, to: Path, dry_run: bool, **options: Any) -> None:
        try:
            for month in months_to_archive(keep=keep):
                if dry_run:
                    self.stdout.write(f"{month:%Y-%m} would be archived to {to}.")
                    continue
                done = archive_month(month, folder=to)
                self.stdout.write(
                    f"{done}: {done.rows:,} rows, {done.cost_usd} USD, sha256 {done.file_digest} {done.file}"
                )
        except CannotArchive as refusal:
            raise CommandError(refusal.message) from refusal
