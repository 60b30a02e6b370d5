"""The page behind the link that confirms an address."""

import pytest

from billing.models import WebhookEndpoint
from tests.billing.webhooks.test_confirmation import adds, mailed_link
from tests.billing.webhooks.test_confirmation import owner as owner  # a fixture

pytestmark = pytest.mark.django_db


def test_opening_the_link_confirms_nothing_and_the_button_does(client, owner):
    adds(client)
    link = mailed_link()

    opened = client.get(link)
    before = WebhookEndpoint.objects.get().confirmed_address
    pressed = client.post(link)

    assert "Confirm your address" in opened.content.decode()
    assert "will now be emailed" in pressed.content.decode()
    assert before == ""
    assert WebhookEndpoint.objects.get().confirmed_address


def test_a_link_made_up_is_a_404_that_says_why(client):
    page = client.get("/portal/confirm/made-up/")

    assert page.status_code == 404
