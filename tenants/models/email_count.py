"""How many emails were sent of one kind, within one window of time."""

from django.db import models


class EmailCount(models.Model):
    """A counter shared by all processes. `scope` is a SHA-256, so that no address is stored."""

    scope = models.CharField(max_length=64)
    ends_at = models.DateTimeField(db_index=True)
    count = models.PositiveIntegerField()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["scope", "ends_at"], name="tenants_emailcount_one_a_window"),
        ]

    def __str__(self) -> str:
        return f"{self.scope[:8]}…: {self.count}"
