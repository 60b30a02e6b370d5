"""`manage.py replay`: what a tenant's recorded usage would have cost under another policy."""

import json
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.what_if.past_usage import BadTerms, as_json, terms_for, what_if
from billing.what_if.simulation import SimulationOutcome
from gateway_project.ground.money import to_usd
from routing.choice import ComplexityRules
from routing.rules import UNLIMITED, current_rules
from tenants.models import Tenant, Tier


class _RuleFile(msgspec.Struct, forbid_unknown_fields=True):
    max_simple_bytes: int = UNLIMITED
    max_simple_messages: int = UNLIMITED
    max_simple_tools: int = UNLIMITED
    keywords: tuple[str, ...] = ()


class Command(BaseCommand):
    help = (
        "Replays recorded usage under another tier, price list or rule set, and prints the difference. "
        "Nothing is changed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, help="Slug of the tenant.")
        parser.add_argument(
            "--since", required=True, help="First day, YYYY-MM-DD, in the tenant's time zone."
        )
        parser.add_argument("--until", help="Last day. Default: today.")
        parser.add_argument("--tier", help="Use the limits, routes, downgrades and margin of this tier.")
        parser.add_argument(
            "--prices",
            help="A date (use the price list of that day) or a JSON file: "
            '{"claude-opus-4": {"input_usd": "15", "output_usd": "75"}}, per 1M tokens.',
        )
        parser.add_argument(
            "--rules",
            help='"shadow": the rules with those in shadow; or a JSON file: {"max_simple_bytes": 8000, '
            '"max_simple_messages": 20, "max_simple_tools": 8, "keywords": ["prove"]}.',
        )
        parser.add_argument("--json", action="store_true", help="Print JSON.")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.select_related("tier").filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {options['tenant']!r}.")
        zone = ZoneInfo(tenant.timezone)
        priced_at, prices = _prices(options["prices"])
        try:
            terms = terms_for(
                tenant,
                tier=_tier(options["tier"]),
                prices=prices,
                priced_at=priced_at,
                rules=_rules(options["rules"]),
            )
        except BadTerms as error:
            raise CommandError(error.message) from error
        until = _day(options["until"], "--until")
        found = what_if(
            tenant,
            terms,
            since=datetime.combine(_day(options["since"], "--since") or date.min, time.min, tzinfo=zone),
            until=datetime.combine(until, time.max, tzinfo=zone) if until else datetime.now(UTC),
        )
        if options["json"]:
            self.stdout.write(json.dumps(as_json(found)))
        else:
            self._table(found)

    def _table(self, found: SimulationOutcome) -> None:
        write = self.stdout.write
        write(f"{found.tenant}: {found.calls:,} calls from {found.since:%Y-%m-%d} to {found.until:%Y-%m-%d}")
        write(f"  recorded     ${to_usd(found.recorded_nano):>18,.6f}")
        write(f"  would cost   ${to_usd(found.would_nano):>18,.6f}")
        write(f"  difference   ${to_usd(found.difference_nano):>+18,.6f}")
        write(f"  downgraded    {found.downgraded:>18,} → {found.would_downgrade:,}")
        write(f"  refused       {found.refused_calls:>18,}   (they cost ${to_usd(found.refused_nano):,.6f})")
        for code, calls in sorted(found.refused.items(), key=lambda each: -each[1]):
            write(f"    {code:<28}{calls:>8,}")
        if found.unjudged:
            write(f"  {found.unjudged:,} calls keep their complexity: its inputs were not recorded")
        if found.moves:
            write(f"  {'model':<30} {'would be':<30} {'calls':>10} {'recorded':>16} {'would cost':>16}")
        for move in sorted(found.moves.values(), key=lambda each: -each.calls):
            recorded, would = to_usd(move.recorded_nano), to_usd(move.would_nano)
            write(
                f"  {move.served_by:<30} {move.would_be:<30} {move.calls:>10,} {recorded:>16.6f} {would:>16.6f}"
            )


def _tier(name: str | None) -> Tier | None:
    if not name:
        return None
    tier = Tier.objects.filter(name=name).first()
    if tier is None:
        raise CommandError(
            f"There is no tier {name!r}. Choose from: {', '.join(Tier.objects.values_list('name', flat=True))}."
        )
    return tier


def _prices(given: str | None) -> tuple[datetime | None, dict[str, dict[str, Any]] | None]:
    """From the option: a moment whose price list applies, or prices by model."""
    if not given:
        return None, None
    try:
        return datetime.combine(date.fromisoformat(given), time.max, tzinfo=UTC), None
    except ValueError:
        return None, _read(given, dict[str, dict[str, Any]])


def _rules(given: str | None) -> ComplexityRules | None:
    if not given:
        return None
    if given == "shadow":
        in_force, with_shadow = current_rules()
        return with_shadow or in_force
    read = _read(given, _RuleFile)
    return ComplexityRules(
        max_simple_bytes=read.max_simple_bytes,
        max_simple_messages=read.max_simple_messages,
        max_simple_tools=read.max_simple_tools,
        keywords=tuple(word.lower() for word in read.keywords),
    )


def _read(path: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=kind)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise CommandError(f"{path}: {error}.") from error


def _day(given: str | None, name: str) -> date | None:
    if not given:
        return None
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise CommandError(f"{name}: {given!r} is not a date (YYYY-MM-DD).") from None
