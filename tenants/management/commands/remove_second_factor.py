"""`manage.py remove_second_factor NAME`: for someone who lost their authenticator app."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from tenants.models import SecondFactor


class Command(BaseCommand):
    help = "Turns off two-factor authentication for an account. Verify the identity of whoever asks for this first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no account named {name!r}.")
        devices = SecondFactor.objects.filter(user=user)
        if not devices.exists():
            raise CommandError(f"{name} does not use two-factor authentication.")
        devices.delete()
        self.stdout.write(f"{name} now logs in with a password only.")
