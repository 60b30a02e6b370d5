"""The policy snapshot: tier and tenant folded into one value."""

import pytest
from django.db import connection

from gateway_project.ground.policy_changes import replay_policy_changes
from routing.choice import Complexity
from tenants import snapshots
from tenants.models import TierDowngrade
from tests.factories import ComplexityRuleFactory, ModelFactory, TenantFactory, TierFactory, TierRouteFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _meter(redis_server):
    return redis_server


def policy_of(tenant):
    return snapshots.policy_of(tenant, version=snapshots.read_version(tenant.pk))


def test_a_tier_sends_its_downgrades_elsewhere_than_the_catalogue():
    cheap, cheaper = ModelFactory(), ModelFactory()
    dear = ModelFactory(downgrade_to=cheap)
    tenant = TenantFactory(models=[dear, cheap, cheaper])
    other = TenantFactory(models=[dear, cheap, cheaper])
    TierDowngrade.objects.create(tier=tenant.tier, model=dear, target=cheaper)

    assert policy_of(tenant).models[dear.name].downgrade_to == cheaper.name
    assert policy_of(other).models[dear.name].downgrade_to == cheap.name


def test_a_tier_may_keep_a_model_from_being_downgraded():
    cheap = ModelFactory()
    dear = ModelFactory(downgrade_to=cheap)
    tenant = TenantFactory(models=[dear, cheap])
    TierDowngrade.objects.create(tier=tenant.tier, model=dear, target=None)

    assert policy_of(tenant).models[dear.name].downgrade_to is None


def test_a_tiers_downgrade_edited_by_raw_sql_is_announced():
    tenant = TenantFactory()
    rule = TierDowngrade.objects.create(tier=tenant.tier, model=ModelFactory(), target=None)
    replay_policy_changes()
    before = snapshots.read_version(tenant.pk)

    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM tenants_tierdowngrade WHERE id = %s", [rule.pk])
    replay_policy_changes()

    assert snapshots.read_version(tenant.pk) != before


@pytest.mark.parametrize(
    ("threshold", "release", "effective"), [(90, None, 80), (5, None, 0), (90, 50, 50), (90, 95, 90)]
)
def test_the_release_threshold_is_ten_points_below_unless_said_and_never_above(threshold, release, effective):
    tier = TierFactory(downgrade_percent=threshold, downgrade_release_percent=release)

    assert policy_of(TenantFactory(tier=tier)).downgrade_release_percent == effective


def test_without_anything_in_shadow_there_is_no_shadow():
    assert policy_of(TenantFactory()).shadow is None


def test_a_tier_in_shadow_is_the_tenants_own_or_its_tiers():
    tried = TierFactory(max_requests_per_minute=7)
    model = TierRouteFactory(tier=tried).model
    theirs = TenantFactory(tier=TierFactory(shadow_tier=TierFactory(max_requests_per_minute=9)))
    own = TenantFactory(tier=theirs.tier, shadow_tier=tried)

    assert policy_of(theirs).shadow.requests_per_minute == 9
    assert policy_of(own).shadow.requests_per_minute == 7
    assert policy_of(own).shadow.routes == {Complexity.SIMPLE: model.name}


def test_a_tenants_own_limit_holds_in_shadow_as_well():
    tenant = TenantFactory(max_requests_per_minute=3, shadow_tier=TierFactory(max_requests_per_minute=7))

    assert policy_of(tenant).shadow.requests_per_minute == 3


def test_a_rule_in_shadow_is_not_in_force_and_its_threshold_stands_beside_the_other():
    ComplexityRuleFactory(kind="threshold", subject="max_simple_messages", value=20)
    ComplexityRuleFactory(kind="threshold", subject="max_simple_messages", value=5, shadow=True)
    ComplexityRuleFactory(subject="prove", shadow=True)

    policy = policy_of(TenantFactory())

    assert (policy.rules.max_simple_messages, policy.rules.keywords) == (20, ())
    assert (policy.shadow.rules.max_simple_messages, policy.shadow.rules.keywords) == (5, ("prove",))
    assert policy.shadow.requests_per_minute is None
