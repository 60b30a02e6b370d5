"""The portal's statements and balance."""

from decimal import Decimal

import pytest

from tenants.models import Role
from tests.factories import MembershipFactory, StatementFactory, TenantFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme(client):
    member = MembershipFactory(tenant=TenantFactory(slug="acme"), role=Role.VIEWER)
    client.force_login(member.user)
    return member.tenant


def test_a_closed_month_is_listed_and_downloaded_in_both_forms(client, acme):
    statement = StatementFactory(tenant=acme, total_usd=Decimal("12.34"))

    page = client.get("/portal/t/acme/statements/").content.decode()
    files = {kind: client.get(f"/portal/t/acme/statements/{statement.pk}.{kind}") for kind in ("csv", "pdf")}

    assert "12.34" in page
    assert files["pdf"].content.startswith(b"%PDF")
    assert b"12.34" in files["csv"].content
    assert files["csv"]["Content-Disposition"] == 'attachment; filename="acme-2026-01-01.csv"'


@pytest.mark.parametrize("kind", ["csv", "pdf"])
def test_another_tenants_statement_is_not_found(client, acme, kind):
    other = StatementFactory()

    assert client.get(f"/portal/t/acme/statements/{other.pk}.{kind}").status_code == 404


def test_without_a_prepaid_balance_the_page_answers_all_the_same(client, acme):
    assert client.get("/portal/t/acme/balance/").status_code == 200
