"""How often a tenant was refused, and how often a policy in shadow would have decided otherwise."""

from django.db import models

from tenants.models import Tenant


class DailyVerdict(models.Model):
    """Requests of one local day, by the code they were refused with; in shadow, by what would have happened.

    Web processes count them and write them once a second, so the last second of a killed process is lost. `detail` is
    the model that a route in shadow leads to.
    """

    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, db_constraint=False, related_name="verdicts")
    day = models.DateField(help_text="In the tenant's time zone.")
    code = models.CharField(max_length=40)
    shadow = models.BooleanField("in shadow", default=False)
    detail = models.CharField(max_length=100, default="", blank=True)
    requests = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = "refusal"
        ordering = ["-day", "tenant", "shadow", "-requests"]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["day"], name="billing_dailyverdict_day")]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "day", "shadow", "code", "detail"], name="billing_dailyverdict_unique"
            )
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.day} {self.code}"
