"""`manage.py backup FILE`: back up the whole database into one file."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from gateway_project.server.backup import BackupError, back_up


class Command(BaseCommand):
    help = (
        "Write the whole database to a new file, while everything runs. Redis needs no backup. "
        "Keep SECRET_KEY and SECRETS_KEYS too, somewhere else: without them the secrets in it cannot be read."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            size = back_up(file)
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{file}: {size / 1e6:.1f} MB. Keep SECRET_KEY and SECRETS_KEYS too, elsewhere.")
