"""Complexity rules as staff keep them, in the form the chooser wants."""

import pytest

from routing.rules import UNLIMITED, current_rules, rules_of
from tests.factories import ComplexityRuleFactory

pytestmark = pytest.mark.django_db


def threshold(subject, value, **values):
    return ComplexityRuleFactory(kind="threshold", subject=subject, value=value, **values)


@pytest.fixture(autouse=True)
def _no_rules():
    from routing.models import ComplexityRule

    ComplexityRule.objects.all().delete()


def test_without_rules_everything_is_simple():
    rules = rules_of([])

    assert (rules.max_simple_bytes, rules.max_simple_messages, rules.max_simple_tools) == (UNLIMITED,) * 3
    assert rules.keywords == ()


def test_a_threshold_in_shadow_goes_before_the_one_in_force():
    rows = [threshold("max_simple_bytes", 10, shadow=True), threshold("max_simple_bytes", 20)]

    assert rules_of(rows).max_simple_bytes == 10


def test_a_threshold_of_no_tools_at_all_is_kept():
    assert rules_of([threshold("max_simple_tools", 0)]).max_simple_tools == 0


def test_what_is_in_shadow_is_beside_what_is_in_force_and_not_in_it():
    ComplexityRuleFactory(kind="keyword", subject="analyze")
    ComplexityRuleFactory(kind="keyword", subject="prove", shadow=True)
    ComplexityRuleFactory(kind="keyword", subject="never", enabled=False)

    in_force, with_shadow = current_rules()

    assert in_force.keywords == ("analyze",)
    assert with_shadow is not None
    assert sorted(with_shadow.keywords) == ["analyze", "prove"]


def test_without_anything_in_shadow_there_is_no_second_rule_set():
    ComplexityRuleFactory(kind="keyword", subject="analyze")

    assert current_rules()[1] is None
