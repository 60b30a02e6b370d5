"""`manage.py rotate_secrets`: encrypt every secret at rest again, with the first of SECRETS_KEYS."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from billing.models import WebhookEndpoint
from gateway_project.ground.secrets import UnreadableSecret, decrypt, encrypt
from routing.models import Upstream
from tenants.models import SecondFactor

ENCRYPTED_FIELDS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (WebhookEndpoint, ("secret", "previous_secret")),
    (Upstream, ("api_key",)),
    (SecondFactor, ("secret",)),
)


class Command(BaseCommand):
    help = (
        "Put a new passphrase in front of SECRETS_KEYS, restart, run this, and take the old one away. "
        "All or nothing: a secret that none of the keys opens is named, and nothing is changed."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        count = 0
        with transaction.atomic():
            for model, fields in ENCRYPTED_FIELDS:
                for row in model.objects.select_for_update().order_by("pk"):
                    changed = [name for name in fields if getattr(row, name)]
                    try:
                        values = {name: encrypt(decrypt(getattr(row, name))) for name in changed}
                    except UnreadableSecret as error:
                        raise CommandError(f"{model._meta.verbose_name} {row.pk}: {error}") from error
                    model.objects.filter(pk=row.pk).update(**values)
                    count += len(values)
        self.stdout.write(f"{count} secrets are now encrypted with the first of SECRETS_KEYS.")
