"""A statement as CSV."""

from datetime import UTC, datetime

import pytest

from billing.models import Statement
from billing.statements.closing import close_due
from billing.statements.csv_file import statement_csv
from tests.billing.statements.test_closing import tenant as tenant  # a fixture
from tests.billing.statements.test_closing import used
from tests.factories import (
    ApiKeyFactory,
)

pytestmark = pytest.mark.django_db


def test_the_csv_adds_up_and_is_no_formula(tenant):
    key = ApiKeyFactory(tenant=tenant, name="=cmd()")
    used(tenant, datetime(2026, 5, 10, tzinfo=UTC), "1.25", model="sonnet", api_key=key, output_tokens=7)
    close_due(datetime(2026, 6, 1, 1, tzinfo=UTC))

    header, line, total = statement_csv(Statement.objects.get()).splitlines()
    assert header.startswith("kind,period_start,model,key,key_name,requests")
    assert "'=cmd()" in line
    assert "1.250000000" in line
    assert total.startswith("total,")
    assert "1.250000000" in total
