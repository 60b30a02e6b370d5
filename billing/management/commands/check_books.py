"""`manage.py check_books`: do the counters, the ledger and the roll-ups agree?"""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.ledger.books import check_books
from tenants.models import Tenant


class Command(BaseCommand):
    help = "Compares live counters, ledger and roll-ups of the current period; exits 1 where they differ."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="Slug of a tenant. Default: all tenants.")
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        tenants = Tenant.objects.order_by("slug")
        if options["tenant"]:
            tenants = tenants.filter(slug=options["tenant"])
            if not tenants:
                raise CommandError(f"There is no tenant {options['tenant']!r}.")
        books = check_books(tenants)
        ok = all(book.ok for book in books)
        if options["json"]:
            rows = [
                {
                    "tenant": book.tenant,
                    "redis_usd": f"{book.redis_usd if book.redis_usd is not None else book.ledger_usd:.9f}",
                    "ledger_usd": f"{book.ledger_usd:.9f}",
                    "rollup_usd": f"{book.rollup_usd:.9f}",
                    "reserved_usd": f"{book.reserved_usd:.9f}",
                    "undrained": book.undrained,
                }
                for book in books
            ]
            self.stdout.write(json.dumps({"ok": ok, "tenants": rows}))
        else:
            for book in books:
                redis_usd = "cold" if book.redis_usd is None else f"{book.redis_usd:.9f}"
                self.stdout.write(
                    f"{'ok   ' if book.ok else 'DRIFT'} {book.tenant:<30} redis {redis_usd:>16} "
                    f"ledger {book.ledger_usd:>16.9f} roll-up {book.rollup_usd:>16.9f} "
                    f"reserved {book.reserved_usd:.9f} undrained {book.undrained}"
                )
        if not ok:
            sys.exit(1)
