"""`manage.py restore FILE`: restore a back-up into an empty database."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from gateway_project.server.backup import BackupError, restore


class Command(BaseCommand):
    help = (
        "Read a file of `manage.py backup` into an empty database; Redis must be empty too. All or nothing. "
        "Then run migrate, start everything, and run check_books."
    )
    # Checks would read tables that do not exist yet.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            restore(file)
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{file} is restored. With the SECRET_KEY and SECRETS_KEYS of its time: run migrate "
            "(`make up` does), then `manage.py check` and `manage.py check_books`."
        )
