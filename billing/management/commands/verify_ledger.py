"""`manage.py verify_ledger`: check whether a row of the ledger was changed, removed or inserted by hand."""

import sys
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser

from billing.ledger.verify import ChainReport, Head, adopt, verify


class _KeptChain(msgspec.Struct):
    """The part of an earlier `--json` report that is read."""

    heads: dict[str, Head]


class Command(BaseCommand):
    help = "Proves that no ledger row was changed, removed or added since it was sealed, or names the first that was."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print JSON.")
        parser.add_argument(
            "--against",
            metavar="FILE",
            help="An earlier --json that was kept elsewhere: nothing it has seen was cut or rewritten since.",
        )
        parser.add_argument(
            "--adopt", action="store_true", help="Seal rows from before there was a chain, or restored ones."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["adopt"]:
            self.stdout.write(f"{adopt()} rows sealed.")
            return
        verdict = verify(_read(options["against"]) if options["against"] else None)
        if options["json"]:
            self.stdout.write(
                msgspec.json.encode({"ok": verdict.ok, **msgspec.to_builtins(verdict)}).decode()
            )
        else:
            self._say(verdict)
        if not verdict.ok:
            sys.exit(1)

    def _say(self, verdict: ChainReport) -> None:
        for fault in verdict.faults:
            self.stdout.write(f"{fault.kind.upper()}: {fault.message}")
        for shard, head in verdict.heads.items():
            self.stdout.write(f"shard {shard}: {head.number} batches, head {head.hash}")
        if verdict.archived:
            self.stdout.write(f"{verdict.archived} rows are in archived months")
        state = "unchanged" if verdict.ok else "CHANGED"
        self.stdout.write(f"{verdict.rows} rows in {verdict.batches} batches are {state}")


def _read(path: str) -> dict[str, Head]:
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=_KeptChain).heads
    except (OSError, msgspec.MsgspecError) as error:
        raise CommandError(f"{path} is not output of verify_ledger --json: {error}") from error
