"""Endpoints that come and go by themselves."""

import pytest

from billing.models import WebhookDelivery, WebhookEndpoint
from billing.webhooks.deliver import deliver_due
from tests.billing.webhooks.test_email import confirmed, recipients, told
from tests.factories import TenantFactory

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_address_that_is_struck_off_gets_no_more_emails_until_it_is_back():
    tenant = TenantFactory(alert_emails=["a@example.com"])
    told(tenant, key="1")
    tenant.alert_emails = []
    told(tenant, key="2")
    tenant.alert_emails = ["a@example.com"]
    told(tenant, key="3")

    assert WebhookDelivery.objects.count() == 2
    assert WebhookEndpoint.objects.get().enabled


def test_an_address_of_another_tenant_hears_nothing():
    TenantFactory(alert_emails=["a@example.com"])
    tenant = TenantFactory(alert_emails=["b@example.com"])
    told(tenant)
    confirmed(tenant)
    deliver_due()
    assert recipients() == ["b@example.com"]
