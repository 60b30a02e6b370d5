"""`manage.py create_operator NAME`: a staff user with a control API token."""

import json
import secrets
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand
from django.db import transaction

from tenants.people.operators import rotate_token


class Command(BaseCommand):
    help = "Creates a staff user, or rotates an existing one's token and password, and prints them as JSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--password", help="Use this password instead of a random one.")

    @transaction.atomic
    def handle(self, *args: Any, name: str, password: str | None = None, **options: Any) -> None:
        user, _ = User.objects.get_or_create(username=name)
        # Only a hash of the old one is stored, so a password to print has to be new.
        password = password or secrets.token_urlsafe(18)
        user.set_password(password)
        user.is_staff = user.is_superuser = user.is_active = True
        user.save()
        token = rotate_token(user)
        self.stdout.write(json.dumps({"username": name, "password": password, "token": token}))
