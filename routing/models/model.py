"""The models of the catalogue."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import F, Q

from gateway_project.ground.policy_changes import PolicyModel


class Family(models.TextChoices):
    CLAUDE = "claude", "Claude"
    GPT = "gpt", "GPT"
    GEMINI = "gemini", "Gemini"
    GROK = "grok", "Grok"
    OTHER = "other", "Other"


class Model(PolicyModel):
    """One model that tenants may be allowed to use. Windows are in tokens.

    `downgrade_to` takes over when a budget runs low, `fallback_to` when the upstream cannot serve this one.
    """

    name = models.CharField(max_length=100, unique=True, help_text="Name that tenants use in requests.")
    upstream_name = models.CharField(max_length=100, help_text="Name sent to the upstream.")
    aliases = ArrayField(
        models.CharField(max_length=100),
        default=list,
        blank=True,
        help_text="Other names used in the upstream's responses and in price lists.",
    )
    family = models.CharField(max_length=20, choices=Family.choices, default=Family.OTHER)
    embeds = models.BooleanField(
        "embedding model", default=False, help_text="Serves /v1/embeddings instead of generating text."
    )
    context_window = models.PositiveIntegerField(default=200_000, validators=[MinValueValidator(1)])
    max_output_tokens = models.PositiveIntegerField(default=8_192, validators=[MinValueValidator(1)])
    downgrade_to = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="downgraded_from",
        help_text="Cheaper model that serves requests once a tenant reaches its downgrade threshold.",
    )
    fallback_to = models.ForeignKey(
        "self",
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="fallback_from",
        help_text="Model to try when the upstream cannot serve this one.",
    )
    enabled = models.BooleanField(default=True, help_text="Requests for a disabled model are refused.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=~Q(name=""), name="routing_model_has_a_name"),
            models.CheckConstraint(
                condition=Q(context_window__gte=1) & Q(max_output_tokens__gte=1),
                name="routing_model_windows_are_positive",
            ),
            models.CheckConstraint(
                condition=Q(downgrade_to=None) | ~Q(downgrade_to=F("id")),
                name="routing_model_downgrades_to_another",
            ),
            models.CheckConstraint(
                condition=Q(fallback_to=None) | ~Q(fallback_to=F("id")),
                name="routing_model_falls_back_to_another",
            ),
            models.CheckConstraint(
                condition=Q(embeds=False) | Q(downgrade_to=None, fallback_to=None),
                name="routing_model_embeddings_stay",
                violation_error_message="Embeddings of different models cannot be compared, so no other can take over.",
            ),
        ]

    def __str__(self) -> str:
        return self.name
