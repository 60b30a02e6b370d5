"""The portal: a member sees its own tenant, does what its role allows, and nothing of anyone else's."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import (
    WebhookEndpoint,
)
from billing.webhooks.publish import publish_test
from gateway_project.portal import urls
from gateway_project.portal.access import RANK
from tenants.models import ApiKey, Invitation, Membership, Role
from tests.factories import (
    AdjustmentFactory,
    ApiKeyFactory,
    DailyTagUsageFactory,
    DailyUsageFactory,
    InvitationFactory,
    MembershipFactory,
    StatementFactory,
    TenantFactory,
    UsageRecordFactory,
    WebhookEndpointFactory,
)

pytestmark = pytest.mark.django_db
ROLES = [Role.VIEWER, Role.DEVELOPER, Role.OWNER]


def furnished(slug: str) -> dict[str, Any]:
    """A tenant with one of everything, by the names the addresses use."""
    tenant = TenantFactory(slug=slug, name=f"{slug} Inc")
    key = ApiKeyFactory(tenant=tenant, name=f"{slug} key")
    row = UsageRecordFactory(tenant=tenant, api_key=key, end_user=f"{slug} user", tags={"team": slug})
    DailyUsageFactory(tenant=tenant, api_key=key)
    DailyTagUsageFactory(tenant=tenant, name="team", value=slug)
    AdjustmentFactory(tenant=tenant)
    endpoint = WebhookEndpointFactory(tenant=tenant)
    invitation = InvitationFactory(tenant=tenant)
    return {
        "tenant": tenant,
        "slug": slug,
        "key_id": key.pk,
        "request_id": row.request_id,
        "endpoint_id": endpoint.pk,
        "delivery_id": publish_test(endpoint).pk,
        "digest": invitation.digest,
        "statement_id": StatementFactory(tenant=tenant).pk,
        "membership_id": MembershipFactory(tenant=tenant, role=Role.VIEWER).pk,
        "invitation_id": invitation.pk,
    }


def address(pattern: Any, of: dict[str, Any], *, slug: str = "") -> str:
    names = [name for name in pattern.pattern.converters if name != "slug"]
    return reverse(f"portal:{pattern.name}", kwargs={"slug": slug or of["slug"], **{n: of[n] for n in names}})


@pytest.fixture
def acme():
    return furnished("acme")


@pytest.fixture
def as_role(client, acme):
    def log_in(role: str) -> Any:
        client.force_login(MembershipFactory(tenant=acme["tenant"], role=role).user)
        return client

    return log_in


def needed(pattern: Any) -> Role:
    return pattern.callback.needs_role


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("pattern", urls.tenant, ids=lambda each: each.name)
def test_a_role_may_what_it_may_and_is_refused_the_rest(as_role, acme, pattern, role):
    visitor = as_role(role)
    answer = visitor.get(address(pattern, acme))
    if answer.status_code == 405:
        answer = visitor.post(address(pattern, acme))

    if RANK[role] < RANK[needed(pattern)]:
        assert answer.status_code == 403
    else:
        assert answer.status_code in (200, 302)


@pytest.mark.parametrize("pattern", urls.tenant, ids=lambda each: each.name)
def test_another_tenants_addresses_are_not_found_by_its_slug_or_by_its_ids(as_role, acme, pattern):
    other = furnished("other")
    owner = as_role(Role.OWNER)
    tries = [address(pattern, other)]
    if len(pattern.pattern.converters) > 0:
        tries.append(address(pattern, other, slug="acme"))

    for tried in tries:
        for method in (owner.get, owner.post):
            assert method(tried).status_code in (404, 405), tried
    assert ApiKey.objects.get(pk=other["key_id"]).revoked_at is None
    assert WebhookEndpoint.objects.filter(pk=other["endpoint_id"]).exists()
    assert Membership.objects.filter(pk=other["membership_id"]).exists()
    before, after = other["digest"], Invitation.objects.get(pk=other["invitation_id"]).digest
    assert before == after


@pytest.mark.parametrize("pattern", urls.tenant, ids=lambda each: each.name)
def test_a_stranger_is_sent_to_the_login(client, acme, pattern):
    for method in (client.get, client.post):
        answer = method(address(pattern, acme))
        assert answer.status_code == 405 or answer.url.startswith("/portal/login/")


@pytest.mark.parametrize("pattern", urls.tenant, ids=lambda each: each.name)
def test_pages_are_light_and_name_no_other_tenant(as_role, acme, pattern):
    furnished("other")
    owner = as_role(Role.OWNER)
    with CaptureQueriesContext(connection) as queries:
        answer = owner.get(address(pattern, acme))
    if answer.status_code == 405 or answer.streaming:
        return
    assert len(queries) < 15
    assert len(answer.content) < 300_000
    assert b"other Inc" not in answer.content
    inline = re.findall(
        r"<script(?![^>]*( src=| type=.application/json.))[^>]*>", answer.content.decode(errors="replace")
    )
    assert inline == []
    assert "script-src 'self';" in answer.headers["Content-Security-Policy"]
    assert b"style=" not in answer.content


def test_one_tenant_is_entered_at_once_and_several_are_offered(client, acme):
    member = MembershipFactory(tenant=acme["tenant"])
    client.force_login(member.user)
    assert client.get("/portal/").url == reverse("portal:overview", args=["acme"])
    MembershipFactory(tenant=TenantFactory(slug="second"), user=member.user)
    assert b"/portal/t/second/" in client.get("/portal/").content


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("usage/?until=0001-01-01", 200),
        ("usage.csv?until=9999-12-31", 302),
        ("usage/?tag=%00", 400),
        ("requests/?model=%00", 400),
        ("requests/?before=2026-01-01T00:00:00%2B23:59", 200),
        ("requests/ffffffff-ffff-ffff-ffff-ffffffffffff/", 404),
    ],
)
def test_an_address_made_by_hand_is_answered(as_role, path, status):
    assert as_role(Role.VIEWER).get(f"/portal/t/acme/{path}").status_code == status
