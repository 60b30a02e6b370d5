"""Accounts that have proved that their address is theirs."""

from django.conf import settings
from django.db import models


class VerifiedEmail(models.Model):
    """An address to which a link was mailed that this account used. It counts while the account has that address."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    email = models.EmailField()
    verified_at = models.DateTimeField(auto_now=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.email
