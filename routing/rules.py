"""The complexity rules that staff edit, as routing takes them."""

from collections.abc import Iterable

from routing.choice import ComplexityRules
from routing.models import ComplexityRule
from routing.models.complexity_rule import RuleKind

UNLIMITED = 2**53


def rules_of(rules: Iterable[ComplexityRule]) -> ComplexityRules:
    """These rules as one value. Of two thresholds for the same size, the one in shadow counts."""
    rows = sorted(rules, key=lambda row: row.shadow)
    thresholds = {row.subject: row.value for row in rows if row.kind == RuleKind.THRESHOLD}
    return ComplexityRules(
        max_simple_bytes=thresholds.get("max_simple_bytes") or UNLIMITED,
        max_simple_messages=thresholds.get("max_simple_messages") or UNLIMITED,
        max_simple_tools=thresholds.get("max_simple_tools", UNLIMITED) or 0,
        keywords=tuple(row.subject for row in rows if row.kind == RuleKind.KEYWORD),
    )


def current_rules() -> tuple[ComplexityRules, ComplexityRules | None]:
    """The rules in force; and, if there are rules in shadow, the same together with those."""
    rows = list(ComplexityRule.objects.filter(enabled=True))
    shadowed = rules_of(rows) if any(row.shadow for row in rows) else None
    return rules_of(row for row in rows if not row.shadow), shadowed
