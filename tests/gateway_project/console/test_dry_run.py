"""The console's dry run: what would happen to a request."""

from decimal import Decimal

import pytest

from tests.factories import (
    ComplexityRuleFactory,
)
from tests.gateway_project.console.test_tenant_decisions import page_of
from tests.gateway_project.console.test_tenant_decisions import sonnet as sonnet  # a fixture
from tests.gateway_project.console.test_tenant_decisions import tenant as tenant  # a fixture

pytestmark = pytest.mark.django_db


def test_it_is_told_what_would_happen_to_a_request(staff, tenant):
    page = page_of(staff, "tenant-decision", tenant.pk, model="opus", prompt_tokens=1000, max_tokens=100)

    assert "<b>opus</b>" in page
    assert "requested" in page
    assert "$0.0225" in page  # 1000 tokens in, 100 out, at worst


def test_complexity_and_its_reason_are_told(staff, tenant):
    ComplexityRuleFactory(subject="prove")

    page = page_of(staff, "tenant-decision", tenant.pk, model="auto", system="Prove it")

    assert "the system prompt contains “prove”" in page
    assert "auto:complex" in page


def test_what_would_refuse_is_told(staff, tenant):
    tenant.monthly_budget_usd = Decimal("0.0001")
    tenant.status = "suspended"
    tenant.save()

    page = page_of(staff, "tenant-decision", tenant.pk, model="opus", max_tokens=100)

    assert "tenant_suspended" in page
    assert "budget of $0.000100000 does not cover" in page


def test_a_model_the_tenant_may_not_use_is_told(staff, tenant):
    tenant.allowances.all().delete()

    assert "model_not_allowed" in page_of(staff, "tenant-decision", tenant.pk, model="auto")


def test_asking_leaves_no_trace(staff, tenant, redis_server):
    page_of(staff, "tenant-decision", tenant.pk, model="opus")

    assert not redis_server.keys("*:leases")
    assert not redis_server.keys("*:rpm")
