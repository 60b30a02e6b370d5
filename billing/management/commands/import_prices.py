"""`manage.py import_prices`: import list prices of the catalogue's models from the genai-prices package."""

from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from billing.models import ModelPrice
from billing.prices.importing import PriceChange, propose, write
from billing.prices.rates import DEFAULT_RATES
from routing.models import Model


class Command(BaseCommand):
    help = (
        "Shows how the price list differs from genai-prices; writes nothing without --apply. A model it does not "
        "know needs an alias in the catalogue; a price staff entered is left unless its model is named."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", nargs="*", help="Public names. Default: all enabled models.")
        parser.add_argument("--apply", action="store_true", help="Write the prices.")
        parser.add_argument(
            "--from", dest="starting", help="When the current prices take effect (ISO, UTC). Default: now."
        )
        parser.add_argument(
            "--confirm", action="append", default=[], metavar="MODEL", help="Confirm this model's price."
        )
        parser.add_argument(
            "--default",
            action="store_true",
            help="Also add a default price of 3/15 for unpriced models, flagged as estimated.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        names = options["model"]
        models = Model.objects.filter(name__in=names) if names else Model.objects.filter(enabled=True)
        if missing := set(names) - {model.name for model in models}:
            raise CommandError(f"Not in the catalogue: {', '.join(sorted(missing))}.")
        starting = self._moment(options["starting"])
        proposal = propose(models.order_by("name"), starting=starting, named=bool(names))
        for change in proposal.changes:
            self._show(change)
        for title, found in (
            ("Unchanged", proposal.unchanged),
            ("Entered by staff, unchanged (name the model to supersede it)", proposal.kept),
            ("Not in genai-prices (give the model an alias, or enter a price)", proposal.unknown),
        ):
            if found:
                self.stdout.write(f"{title}: {', '.join(found)}")
        for note in dict.fromkeys(proposal.notes):
            self.stdout.write(f"Note: {note}")
        doubted = {change.model.name for change in proposal.changes if change.doubts} - set(
            options["confirm"]
        )
        wanted = [change for change in proposal.changes if change.model.name not in doubted]
        with_default = options["default"] and not ModelPrice.objects.filter(model=None).exists()
        if with_default:
            self.stdout.write("Default price for models without their own: 3 in, 15 out.")
        if options["apply"]:
            written = write(wanted)
            if with_default:
                ModelPrice.objects.create(
                    model=None, effective_from=starting, source="default", **DEFAULT_RATES.columns()
                )
                written += 1
            self.stdout.write(f"{written} rows written.")
        elif wanted or with_default:
            self.stdout.write("Nothing written. Run it again with --apply.")
        if doubted:
            again = " ".join(f"--confirm {name}" for name in sorted(doubted))
            raise CommandError(
                f"Not written: these prices look like a unit mistake. If they are correct, run again with {again}"
            )

    def _show(self, change: PriceChange) -> None:
        self.stdout.write(
            f"{change.model.name}  from {change.effective_from:%Y-%m-%d %H:%M}  ({change.source})"
        )
        before = {row.over: row.rates for row in change.before}
        for row in change.rows:
            old = before.pop(row.over, None)
            for name in row.rates.__struct_fields__:
                was, will = (getattr(old, name) if old else None), getattr(row.rates, name)
                if was != will:
                    over = f" over {row.over:,}" if row.over else ""
                    shown = "none" if was is None else f"{was.normalize():f}"
                    self.stdout.write(f"    {name}{over}: {shown} -> {will.normalize():f}")
        for gone in before:
            self.stdout.write(f"    no price of its own over {gone:,} anymore")
        for column, doubt in change.doubts.items():
            self.stdout.write(f"    ? {column.removesuffix('_usd')}: {doubt}")

    @staticmethod
    def _moment(text: str | None) -> datetime:
        if text is None:
            return timezone.now()
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise CommandError(
                f"{text!r} is not a date or time such as 2026-12-01 or 2026-12-01T08:00."
            ) from error
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
