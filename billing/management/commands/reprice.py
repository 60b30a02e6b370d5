"""`manage.py reprice MODEL`: correct a period's calls that had a wrong price, by adjustments."""

from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.models import ModelPrice
from billing.prices.repricing import RepricingAsked, book_repricing, preview
from gateway_project.ground.errors import TenantryError
from routing.models import Model
from tenants.models import Tenant


class Command(BaseCommand):
    help = (
        "Shows what a model's calls of whole UTC days should have cost by the price list as it stands now (or by one "
        "price of it), and with --apply books the difference. Ledger rows are not touched; twice is harmless."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", help="Public name of the model.")
        parser.add_argument(
            "--since", required=True, type=date.fromisoformat, help="First day, e.g. 2026-11-01."
        )
        parser.add_argument("--until", required=True, type=date.fromisoformat, help="Last day (inclusive).")
        parser.add_argument(
            "--price", type=int, help="ID of a price to use instead of the one in force at each call's time."
        )
        parser.add_argument("--tenant", help="Slug of a tenant. Default: all tenants.")
        parser.add_argument("--reason", default="", help="Reason shown on the tenant's statement.")
        parser.add_argument("--apply", action="store_true", help="Book the corrections.")

    def handle(self, *args: Any, **options: Any) -> None:
        asked = RepricingAsked(
            model=self._found(Model.objects.filter(name=options["model"]), f"model {options['model']!r}"),
            since=options["since"],
            until=options["until"],
            tenant=self._found(Tenant.objects.filter(slug=options["tenant"]), f"tenant {options['tenant']!r}")
            if options["tenant"]
            else None,
            price=self._found(ModelPrice.objects.filter(pk=options["price"]), f"price {options['price']}")
            if options["price"]
            else None,
        )
        try:
            repricing = preview(asked)
            booked = []
            if options["apply"]:
                booked = book_repricing(
                    asked, reason=options["reason"] or f"Price of {asked.model.name} corrected"
                )
        except TenantryError as error:
            raise CommandError(error.message) from error
        for line in repricing.lines:
            self.stdout.write(
                f"{line.tenant.slug:<24} period {line.period_start} {line.calls:>9,} calls  "
                f"booked {line.booked_usd:f}  priced {line.priced_usd:f}  "
                f"corrected before {line.corrected_usd:f}  difference {line.difference_usd:+f}"
            )
        if repricing.orphaned:
            self.stdout.write(
                f"{repricing.orphaned} calls from crashed processes keep the amount that was reserved for them."
            )
        self.stdout.write(f"Difference: {repricing.difference_usd:+f} USD.")
        if options["apply"]:
            self.stdout.write(f"{len(booked)} corrections booked.")
        elif any(line.days for line in repricing.lines):
            self.stdout.write("Nothing booked. Run it again with --apply.")

    @staticmethod
    def _found(rows: Any, what: str) -> Any:
        found = rows.first()
        if found is None:
            raise CommandError(f"There is no {what}.")
        return found
