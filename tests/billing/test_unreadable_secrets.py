"""A key that is missing is said where people look, before a webhook fails."""

import os
import subprocess
import sys

import pytest
from django.core.checks import run_checks
from django.urls import reverse

from billing.unreadable_secrets import check_secrets, unreadable_secrets
from billing.webhooks.signing import give_secret
from gateway_project.metrics import scrape
from tests.factories import StaffFactory, UpstreamFactory, WebhookEndpointFactory
from tests.security.test_settings import GOOD, HOME

pytestmark = pytest.mark.django_db


def secrets_of_old(settings, *, now: list[str]) -> None:
    """A webhook's and an upstream's secret, encrypted with a key that may be gone."""
    settings.SECRETS_KEYS = ["old-passphrase"]
    endpoint = WebhookEndpointFactory()
    give_secret(endpoint)
    endpoint.save()
    UpstreamFactory(api_key="ezai-key")
    settings.SECRETS_KEYS = now


def test_secrets_whose_key_was_taken_away_are_named(settings):
    secrets_of_old(settings, now=["new-passphrase"])

    kinds = [name.rsplit(" ", 1)[0] for name in unreadable_secrets()]
    [said] = [each for each in run_checks() if each.id == "tenantry.W001"]

    assert sorted(kinds) == ["upstream", "webhook endpoint"]
    assert "2 secrets cannot be decrypted" in said.msg
    assert "SECRETS_KEYS" in str(said.hint)


def test_a_key_that_stands_behind_the_new_one_still_opens_them(settings):
    secrets_of_old(settings, now=["new-passphrase", "old-passphrase"])

    assert unreadable_secrets() == []
    assert check_secrets() == []


def test_it_is_on_the_dashboard_and_in_the_metrics(client, settings, redis_server):
    client.force_login(StaffFactory())
    healthy = client.get(reverse("admin:index")).content.decode()
    secrets_of_old(settings, now=["new-passphrase"])
    client.force_login(StaffFactory())  # the session was encrypted with the old one as well

    page = client.get(reverse("admin:index")).content.decode()
    text = scrape()[0].decode()

    assert "Unreadable secrets" not in healthy
    assert "Unreadable secrets" in page
    assert "tenantry_unreadable_secrets 2.0" in text


def test_a_check_without_a_database_is_quick_and_says_nothing():
    """As when an image is built."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "manage.py", "check"],
        cwd=HOME,
        env=GOOD
        | {"PATH": os.environ["PATH"], "DATABASE_URL": "postgresql://127.0.0.1:9/none", "DATA_DIR": "/x"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0
    assert "pool" not in done.stderr
