"""Django's entry to the app."""

from django.apps import AppConfig
from django.core.checks import Tags, register


class BillingConfig(AppConfig):
    name = "billing"
    verbose_name = "Billing"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from billing.unreadable_secrets import check_secrets

        register(check_secrets, Tags.security)
