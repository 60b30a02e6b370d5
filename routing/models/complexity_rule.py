"""The rules that make a request complex: thresholds for sizes, and keywords."""

from django.db import models
from django.db.models import Q

from gateway_project.ground.policy_changes import PolicyModel


class RuleKind(models.TextChoices):
    THRESHOLD = "threshold", "Threshold"
    KEYWORD = "keyword", "Keyword"


class Threshold(models.TextChoices):
    """The sizes that have thresholds. The names are fields of `routing.choice.ComplexityRules`."""

    BYTES = "max_simple_bytes", "Bytes of text"
    MESSAGES = "max_simple_messages", "Messages"
    TOOLS = "max_simple_tools", "Tools"


class ComplexityRule(PolicyModel):
    """One rule. For a threshold, `subject` is what is counted, and `value` the most a simple request may have.

    For a keyword, `subject` is the lower-case phrase to find in the system prompt.
    """

    kind = models.CharField(max_length=10, choices=RuleKind.choices)
    subject = models.CharField(
        max_length=100,
        help_text="Keyword: a lowercase phrase. Threshold: " + ", ".join(Threshold.values) + ".",
    )
    value = models.PositiveIntegerField(
        null=True, blank=True, help_text="Thresholds only: the maximum for a simple request."
    )
    enabled = models.BooleanField(default=True)
    shadow = models.BooleanField(
        "shadow mode",
        default=False,
        help_text="Evaluated but not enforced. Requests it would have routed differently are counted. A shadow "
        "threshold can exist beside the active one.",
    )

    class Meta:
        ordering = ["-kind", "subject"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject", "shadow"], name="routing_complexityrule_unique"
            ),
            models.CheckConstraint(
                condition=Q(kind=RuleKind.THRESHOLD, subject__in=Threshold.values, value__isnull=False)
                | (Q(kind=RuleKind.KEYWORD, value=None) & ~Q(subject="")),
                name="routing_complexityrule_fits_its_kind",
                violation_error_message="A threshold needs a known subject and a value. A keyword has no value.",
            ),
        ]

    def __str__(self) -> str:
        return (
            self.subject
            if self.kind == RuleKind.KEYWORD
            else f"{self.get_kind_display()} {self.subject} {self.value}"
        )
