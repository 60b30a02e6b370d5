"""The links of the ledger's hash chain."""

import pytest

from billing.ledger.posting import Entry, post
from billing.ledger.verify import adopt, verify
from billing.models import LedgerBatch, UsageRecord
from tests.billing.ledger.test_posting import an_event
from tests.factories import TenantFactory, UsageRecordFactory

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_batch_without_a_new_row_makes_no_link():
    tenant = TenantFactory()
    entries = [Entry(id="1-0", event=an_event(tenant.pk))]

    post(entries, shard=0)
    post(entries, shard=0)

    assert LedgerBatch.objects.count() == 1
    assert verify().ok


def test_rows_from_before_the_chain_are_adopted_once():
    for _ in range(3):
        UsageRecordFactory()
    assert not verify().ok

    assert adopt() == 3

    assert adopt() == 0
    assert verify().ok
    assert UsageRecord.objects.count() == 3
