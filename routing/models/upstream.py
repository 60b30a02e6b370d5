"""Further upstreams, for when EzAI cannot serve."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator, URLValidator
from django.db import models

from gateway_project.ground.policy_changes import PolicyModel
from gateway_project.ground.secrets import encrypt


class UpstreamFormat(models.TextChoices):
    ANTHROPIC = "anthropic", "Anthropic"
    OPENAI = "openai", "OpenAI"


def every_wire() -> list[str]:
    return list(UpstreamFormat.values)


class Upstream(PolicyModel):
    """An upstream that is called when EzAI, which the environment defines, is overloaded, away, or its breaker open.

    It must know the catalogue's upstream names. Its key is encrypted at rest and never shown again.
    """

    name = models.SlugField(max_length=50, unique=True)
    base_url = models.CharField(
        "base URL",
        max_length=200,
        validators=[URLValidator(schemes=["http", "https"])],
        help_text="Without /v1, for example https://api.example.com.",
    )
    api_key = models.TextField(
        validators=[RegexValidator(r"^\S+$", "An API key cannot contain spaces.")],
        help_text="Write-only: encrypted when saved.",
    )
    wires = ArrayField(
        models.CharField(max_length=20, choices=UpstreamFormat.choices),
        verbose_name="API formats",
        default=every_wire,
        help_text="API formats this upstream accepts.",
    )
    priority = models.PositiveSmallIntegerField(
        default=10, help_text="Upstreams with a lower number are tried first."
    )
    enabled = models.BooleanField(default=True)

    class Meta:
        ordering = ["priority", "name"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(base_url__regex=r"^https?://"), name="routing_upstream_is_http"
            ),
            models.CheckConstraint(condition=~models.Q(api_key=""), name="routing_upstream_has_a_key"),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: object, **kwargs: object) -> None:
        if not self.api_key.startswith("enc:"):
            self.api_key = encrypt(self.api_key)
        super().save(*args, **kwargs)
