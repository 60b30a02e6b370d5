"""Where events are sent."""

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models

from billing.address_guard import validate_url
from billing.webhooks.event_types import refusal, unknown
from tenants.models import Tenant


class WebhookEndpoint(models.Model):
    """One address. Without a tenant it is the operator's and gets every tenant's events.

    Empty `events` mean all. After a rotation `previous_secret` signs as well, until `previous_secret_until`.
    """

    tenant = models.ForeignKey(
        Tenant,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="webhooks",
        help_text="If empty, the endpoint belongs to the operator.",
    )
    url = models.CharField("URL", max_length=2000, help_text="https://…, or mailto:… to get emails instead.")
    description = models.CharField(max_length=200, blank=True)
    events = ArrayField(
        models.CharField(max_length=50),
        default=list,
        blank=True,
        help_text="Event types. If empty, all events are sent.",
    )
    secret = models.TextField(editable=False)
    previous_secret = models.TextField(blank=True, default="", editable=False)
    previous_secret_until = models.DateTimeField(null=True, blank=True, editable=False)
    alert_address = models.BooleanField(
        default=False,
        editable=False,
        help_text="Created for an alert address of the tenant or operator.",
    )
    # The address, not just a flag: an edited URL has to be confirmed again, however it was edited.
    confirmed_address = models.CharField(
        max_length=254, blank=True, default="", db_default="", editable=False
    )
    enabled = models.BooleanField(default=True)
    disabled_at = models.DateTimeField(null=True, blank=True, editable=False)
    disabled_reason = models.CharField(max_length=200, blank=True, default="", editable=False)
    failing_since = models.DateTimeField(null=True, blank=True, editable=False)
    slow_until = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="The receiver asked for a pause until this time.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["tenant", "-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "url"],
                condition=models.Q(alert_address=True),
                nulls_distinct=False,
                name="billing_webhookendpoint_an_address_once",
            ),
            models.CheckConstraint(
                condition=~models.Q(secret=""), name="billing_webhookendpoint_has_a_secret"
            ),
        ]

    def __str__(self) -> str:
        return self.url

    @property
    def unknown_events(self) -> list[str]:
        """Events that do not exist, chosen before that was checked. Nothing is ever sent for them."""
        return unknown(self.events)

    def clean(self) -> None:
        try:
            validate_url(self.url)
        except ValidationError as error:
            raise ValidationError({"url": error.messages}) from error
        if told := refusal(self.new_events(), of_tenant=self.tenant_id is not None):
            raise ValidationError({"events": told})

    def new_events(self) -> list[str]:
        """The events that the stored row does not have. Those it has may stay when something else is edited."""
        stored = (
            type(self).objects.filter(pk=self.pk).values_list("events", flat=True).first()
            if self.pk
            else None
        )
        return [each for each in self.events if each not in (stored or ())]
