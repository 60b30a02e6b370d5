"""Suspending tenants and letting them work again."""

import pytest

from tenants.models import TenantStatus
from tenants.status import set_status
from tests.factories import TenantFactory

pytestmark = pytest.mark.django_db


def test_only_those_that_change_are_counted():
    working, suspended = TenantFactory(), TenantFactory(status=TenantStatus.SUSPENDED)

    changed = set_status([working, suspended], status=TenantStatus.SUSPENDED, reason="unpaid")

    working.refresh_from_db()
    assert changed == 1
    assert working.status == TenantStatus.SUSPENDED


def test_a_suspended_tenant_works_again():
    tenant = TenantFactory(status=TenantStatus.SUSPENDED)

    set_status([tenant], status=TenantStatus.ACTIVE)

    tenant.refresh_from_db()
    assert tenant.status == TenantStatus.ACTIVE
