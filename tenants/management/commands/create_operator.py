"""`manage.py create_operator NAME`: a staff user with a control API token."""

import json
import secrets
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.db import transaction
from rest_framework.authtoken.models import Token


class Command(BaseCommand):
    help = "Create a staff user, or rotate an existing one's token and password; prints them as JSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--password", help="Use this password instead of a random one.")

    @transaction.atomic
    def handle(self, *args: Any, name: str, password: str | None = None, **options: Any) -> None:
        user, _ = get_user_model().objects.get_or_create(username=name)
        # Only its hash was kept, so what is printed has to be new for it to be true.
        password = password or secrets.token_urlsafe(18)
        user.set_password(password)
        user.is_staff = user.is_superuser = user.is_active = True
        user.save()
        Token.objects.filter(user=user).delete()
        token = Token.objects.create(user=user)
        self.stdout.write(json.dumps({"username": name, "password": password, "token": token.key}))
