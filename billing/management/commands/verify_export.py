"""`manage.py verify_export ID`: check whether an exported file still agrees with the ledger."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.exports.export import verify
from billing.models import UsageExport
from billing.models.usage_export import ExportStatus


class Command(BaseCommand):
    help = "Recomputes an export's rows, control totals and SHA-256 from the ledger. Exits 1 if they differ."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("export", type=int, help="Number of the export in the export log.")

    def handle(self, *args: Any, **options: Any) -> None:
        export = UsageExport.objects.filter(pk=options["export"]).first()
        if export is None:
            raise CommandError(f"There is no export {options['export']}.")
        if export.status != ExportStatus.COMPLETE:
            raise CommandError(f"Export {export.pk} is {export.status}: its file is incomplete.")
        differences = verify(export)
        if differences:
            raise CommandError("\n".join(differences))
        self.stdout.write(
            f"{export.rows} rows, {export.totals['cost_usd']} USD, sha256 {export.digest}: matches the ledger."
        )
