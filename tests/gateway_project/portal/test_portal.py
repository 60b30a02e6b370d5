"""The portal: a member sees its own tenant, does what its role allows, and nothing of anyone else's."""

import re
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from billing.models import (
    DailyTagUsage,
    DailyVerdict,
    LedgerArchive,
    UsageExport,
    UsageRecord,
    WebhookDelivery,
    WebhookEndpoint,
)
from billing.webhooks.publish import publish_test
from gateway_project.portal import urls
from gateway_project.portal.access import RANK
from gateway_project.portal.overview import pace
from tenants.models import ApiKey, Invitation, Membership, Role, Tenant
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


def test_a_developer_issues_rotates_and_revokes_a_key(as_role, acme):
    developer = as_role(Role.DEVELOPER)
    page = developer.post(reverse("portal:keys", args=["acme"]), {"name": "app"}).content.decode()
    shown = re.search(r"tn_[\w-]{20,}", page)
    assert shown
    key = ApiKey.objects.get(name="app")
    assert shown[0] not in developer.get(reverse("portal:keys", args=["acme"])).content.decode()

    developer.post(reverse("portal:key-rotate", args=["acme", key.pk]))
    key.refresh_from_db()
    assert key.replaced_by is not None
    assert key.state == "live"

    developer.post(reverse("portal:key-revoke", args=["acme", key.pk]))
    key.refresh_from_db()
    assert key.state == "revoked"


def test_an_owner_adds_a_webhook_and_sees_its_secret_once(as_role, acme):
    owner = as_role(Role.OWNER)
    url = reverse("portal:webhooks", args=["acme"])
    page = owner.post(url, {"url": "https://93.184.216.34/hook", "events": []}).content.decode()
    assert "whsec_" in page
    assert "whsec_" not in owner.get(url).content.decode()
    refused = owner.post(url, {"url": "http://169.254.169.254/"}).content.decode()
    assert "whsec_" not in refused


def test_a_test_event_is_queued(as_role, acme):
    as_role(Role.DEVELOPER).post(reverse("portal:webhook-test", args=["acme", acme["endpoint_id"]]))
    assert WebhookDelivery.objects.filter(endpoint_id=acme["endpoint_id"]).count() == 2


def test_the_csv_has_the_tenants_rows_alone_and_not_what_its_provider_pays(as_role, acme):
    furnished("other")
    text = b"".join(as_role(Role.VIEWER).get(reverse("portal:usage-csv", args=["acme"])).streaming_content)
    assert str(acme["request_id"]) in text.decode()
    assert "other" not in text.decode()
    assert "upstream_cost" not in text.decode()
    assert UsageExport.objects.get().filters["tenant"] == "acme"


def test_usage_is_grouped_by_a_tag(as_role, acme):
    today = timezone.now().date()
    DailyTagUsage.objects.create(
        tenant=acme["tenant"], day=today, name="team", value="search", requests=3, cost_usd=Decimal(7)
    )
    page = as_role(Role.VIEWER).get(reverse("portal:usage", args=["acme"]), {"tag": "team"}).content.decode()
    assert "By tag team" in page
    assert "search" in page
    assert "$7.00" in page


def test_refusals_are_counted_for_the_tenant(as_role, acme):
    DailyVerdict.objects.create(
        tenant=acme["tenant"], day=timezone.now().date(), code="rate_limited", requests=12
    )
    page = as_role(Role.VIEWER).get(reverse("portal:limits", args=["acme"])).content.decode()
    assert "<code>rate_limited</code> <b>12</b>" in page


def test_usage_is_drawn_by_model_with_a_bar_for_each_day(as_role, acme):
    today = timezone.now().date()
    for back, model, cost in ((0, "gpt-4o", 3), (1, "gpt-4o", 4), (1, "claude-opus-4-20250514", 9)):
        day = today - timedelta(days=back)
        DailyUsageFactory(tenant=acme["tenant"], model=model, day=day, cost_usd=Decimal(cost))
    page = as_role(Role.VIEWER).get(
        reverse("portal:usage", args=["acme"]), {"since": today - timedelta(days=1)}
    )
    drawn = {line["name"]: line["values"] for line in page.context["chart"]["series"]}
    assert drawn["gpt-4o"] == [4, 3]
    assert drawn["claude-opus-4-20250514"] == [9, 0]


def test_the_forecast_says_when_the_budget_ends(as_role, acme):
    tenant = acme["tenant"]
    pace_of = partial(pace, tenant, budget=Decimal(100), period=date(2026, 9, 1))
    assert pace_of(spent=Decimal(40), expected=Decimal(80)) == "At this pace $80.00 by its end."
    assert (
        pace_of(spent=Decimal(40), expected=Decimal(200)) == "At this pace the budget ends on 16 September."
    )
    assert pace_of(spent=Decimal(100), expected=Decimal(200)) == "The budget is used up."


def test_requests_are_filtered_and_found_by_their_id(as_role, acme):
    other = UsageRecordFactory(tenant=acme["tenant"], end_user="somebody else", status="cancelled")
    viewer, url = as_role(Role.VIEWER), reverse("portal:requests", args=["acme"])
    assert [row.pk for row in viewer.get(url, {"status": "cancelled"}).context["rows"]] == [other.pk]
    assert [row.end_user for row in viewer.get(url, {"end_user": "acme user"}).context["rows"]] == [
        "acme user"
    ]
    assert viewer.get(url, {"id": str(other.pk)}).url == reverse("portal:receipt", args=["acme", other.pk])


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"id": "abc"}, "is not a request id"),
        ({"id": "req_011CSHoEeqs5C35K2UUqR7Fy"}, "is not a request id"),
        ({"id": "01a228bc-fd4c-7061-9dea-4e8865d48eb5"}, "No request of yours has the id"),
        ({"id": "' OR 1=1 --", "status": "ok"}, "is not a request id"),
        ({"status": "fine"}, "There is no status"),
        ({"key": "mine"}, "There is no key"),
        ({"key": "²"}, "There is no key"),
        ({"key": "9" * 30}, "There is no key"),
        ({"before": "yesterday"}, "is not a time"),
        ({"before": "0001-01-01"}, "no requests at"),
    ],
)
def test_a_request_that_is_asked_for_in_vain_is_not_answered_by_all_of_them(as_role, acme, asked, told):
    page = as_role(Role.VIEWER).get(reverse("portal:requests", args=["acme"]), asked)

    assert page.context["rows"] == []
    assert told in page.content.decode()
    assert "acme user" not in strip_tags(page.content.decode())


def test_another_tenants_request_id_is_as_unknown_as_none(as_role, acme):
    others = UsageRecordFactory()

    page = as_role(Role.VIEWER).get(reverse("portal:requests", args=["acme"]), {"id": str(others.pk)})

    assert "No request of yours has the id" in page.content.decode()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"since": "10/01/2026"}, "is not a date"),
        ({"until": "2026-02-30"}, "is not a date"),
        ({"until": "9999-12-31"}, "no usage on"),
        ({"since": "2020-01-01", "until": "2026-01-01"}, "At most 366 days"),
        ({"show": "everything"}, "There is no chart of"),
        ({"tag": "x" * 130}, "is not a tag"),
        ({"tag": "=acme"}, "is not a tag"),
        ({"tag": "no-such-tag"}, "has the tag"),
    ],
)
def test_usage_that_cannot_be_shown_as_asked_says_so(as_role, acme, asked, told):
    page = as_role(Role.VIEWER).get(reverse("portal:usage", args=["acme"]), asked)

    assert told in page.content.decode()


def test_a_file_is_not_made_of_other_days_than_were_asked_for(as_role, acme):
    answer = as_role(Role.VIEWER).get(
        reverse("portal:usage-csv", args=["acme"]), {"since": "10/01/2026"}, follow=True
    )

    assert "is not a date" in answer.content.decode()
    assert not UsageExport.objects.exists()


def test_limits_show_how_close_the_tenant_came(as_role, acme):
    for _ in range(2):
        UsageRecordFactory(tenant=acme["tenant"], end_user="busy")
    lines = {
        line.name: line
        for line in as_role(Role.VIEWER).get(reverse("portal:limits", args=["acme"])).context["lines"]
    }
    assert lines["Requests a minute, each end user"].peak.startswith(("1,", "2,"))
    assert lines["Requests a minute"].peak.endswith(", 24 h")


def test_times_are_the_tenants_own(as_role, acme):
    Tenant.objects.filter(slug="acme").update(timezone="Asia/Kathmandu")
    row = UsageRecord.objects.get(tenant=acme["tenant"])
    page = as_role(Role.VIEWER).get(reverse("portal:requests", args=["acme"])).content.decode()
    assert f"{row.created_at.astimezone(ZoneInfo('Asia/Kathmandu')):%Y-%m-%d %H:%M:%S}" in page


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


def test_usage_that_is_archived_is_told_of_instead_of_a_file(as_role):
    LedgerArchive.objects.create(
        month=date(2020, 1, 1), file="x", rows=1, cost_usd=1, digest="", file_digest=""
    )

    answer = as_role(Role.VIEWER).get(
        "/portal/t/acme/usage.csv?since=2020-01-01&until=2020-01-31", follow=True
    )

    assert answer.status_code == 200
    assert "stand in archives" in answer.content.decode()
