"""`manage.py import_upstream_bill FILE`: compare the upstream's bill with the ledger, by UTC day and model."""

from datetime import date
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.upstream_bill.comparison import import_bill
from billing.upstream_bill.http_report import import_report
from billing.upstream_bill.parsing import BadBill, read_csv


class Command(BaseCommand):
    help = (
        "Imports a bill (a CSV with day, model and cost; - is standard input), or with --fetch the report at "
        "UPSTREAM_BILL_URL, and shows where it differs from the ledger."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", help="CSV file.")
        parser.add_argument(
            "--fetch", action="store_true", help="Fetch the report from the upstream instead."
        )
        parser.add_argument("--since", type=date.fromisoformat, help="First day to fetch.")
        parser.add_argument("--until", type=date.fromisoformat, help="Last day to fetch. Default: yesterday.")

    def handle(self, *args: Any, **options: Any) -> None:
        if bool(options["file"]) == options["fetch"]:
            raise CommandError("Give a file, or --fetch.")
        try:
            if options["fetch"]:
                imported = import_report(options["since"], options["until"])
            else:
                path = Path("/dev/stdin" if options["file"] == "-" else options["file"])
                lines = read_csv(path.read_bytes(), settings.UPSTREAM_BILL_FIELDS)
                imported = import_bill(lines, source=path.name)
        except (BadBill, OSError) as error:
            raise CommandError(str(error)) from error
        for check in imported.checks:
            difference = check.billed_usd - check.booked_usd
            self.stdout.write(
                f"{'ok     ' if check.ok else 'DIFFERS'} {check.day} {check.model:<36} "
                f"billed {check.billed_usd:>14f} booked {check.booked_usd:>14f} {difference:+f}"
            )
        self.stdout.write(
            f"{imported.lines} lines imported. {len(imported.differing)} of {len(imported.checks)} differ."
        )
