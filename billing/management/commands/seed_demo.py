"""`manage.py seed_demo`: seed tiers, catalogue, prices and two tenants to try it with."""

import json
import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from billing.demo.tenants import seed_demo


class Command(BaseCommand):
    help = "Seeds the demo and prints its keys as JSON. Safe to repeat."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--keys-file", type=Path, help="JSON file {slug: key} to read and store the demo keys."
        )

    def handle(self, *args: Any, keys_file: Path | None = None, **options: Any) -> None:
        stored = None
        if keys_file:
            stored = json.loads(keys_file.read_text()) if keys_file.exists() else {}
        keys = seed_demo(stored)
        if keys_file and keys != stored:
            _write_private(keys_file, json.dumps(keys, indent=1))
        self.stdout.write(json.dumps(keys))


def _write_private(path: Path, text: str) -> None:
    """Write the file completely or not at all, readable only by its owner, since it holds keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)
