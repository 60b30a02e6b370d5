"""`manage.py make_usage ROWS`: make a large ledger for measurements. Never on an installation in use."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing.demo.synthetic_usage import make_usage, months_before
from tenants.models import Tenant


class Command(BaseCommand):
    help = "Creates synthetic calls for the existing tenants, priced and rolled up."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("rows", type=int)
        parser.add_argument("--months", type=int, default=12, help="How many months back the calls go.")
        parser.add_argument("--tenant", action="append", help="Slug of a tenant. Default: all tenants.")

    def handle(self, *args: Any, **options: Any) -> None:
        tenants = Tenant.objects.filter(deleted_at=None).order_by("pk")
        if options["tenant"]:
            tenants = tenants.filter(slug__in=options["tenant"])
        until = timezone.now()
        began = time.monotonic()
        try:
            made = make_usage(
                list(tenants),
                rows=options["rows"],
                since=months_before(until, options["months"]),
                until=until,
            )
        except ValueError as error:
            raise CommandError(str(error)) from error
        seconds = time.monotonic() - began
        self.stdout.write(f"{made:,} calls in {seconds:.1f} s ({made / seconds:,.0f} per second).")
