"""The policy snapshot's own rules."""

import msgspec

from routing.choice import ComplexityRules
from tenants.policy import Shadow
from tests.billing.meter.test_admission import a_principal

IN_SHADOW = ComplexityRules(2, 2, 2, ("analyze",))


def test_rules_in_shadow_are_tried_where_there_are_any():
    policy = a_principal().policy
    shadow = Shadow(None, None, None, None, 90, {}, IN_SHADOW)

    assert policy.tried_rules == policy.rules
    assert msgspec.structs.replace(policy, shadow=shadow).tried_rules == IN_SHADOW


def test_two_readings_of_one_policy_are_two_principals():
    """What is prepared for a principal is kept by identity: a new snapshot must not find the old one's."""
    assert a_principal() != a_principal()
    assert a_principal().policy == a_principal().policy
