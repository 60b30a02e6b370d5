"""Two tenants at every address there is: a route that is added without its case here fails.

The portal's addresses are walked in tests/gateway_project/portal/test_access.py.
"""

import json
import re

import pytest
from asgiref.sync import sync_to_async
from django.contrib import admin
from django.urls import URLResolver, get_resolver, reverse
from rest_framework.test import APIClient

from billing.ledger.drain import drain_all
from proxy.door.urls import urlpatterns as data_plane
from tenants.people.operators import rotate_token
from tests.factories import ApiKeyFactory, MembershipFactory, ModelFactory, TenantFactory, UserFactory
from tests.proxy.conftest import books, upstream_answering, world
from tests.proxy.gateway import HELLO, get, post
from tests.proxy.scripted_upstream import message, raw

__all__ = ["books", "upstream_answering", "world"]
DESCRIPTION = {"/api/docs", "/api/schema"}  # what there is, and nothing that is in it
HIDDEN_MODEL = "a-model-of-the-others"
QUESTION = json.dumps({**HELLO, "model": HIDDEN_MODEL})
# Each route of the data plane: how the other tenant asks it for what is this one's, and what it may be told.
ASKED = {
    "v1/messages": ("POST", QUESTION, {404}),
    "v1/chat/completions": ("POST", QUESTION, {404}),
    "v1/embeddings": ("POST", json.dumps({"model": HIDDEN_MODEL, "input": "x"}), {404}),
    "v1/messages/count_tokens": ("POST", QUESTION, {404}),
    "v1/route": ("POST", QUESTION, {200, 404}),
    "v1/models": ("GET", "", {200}),
    "v1/models/<path:name>": ("GET", "", {404}),
    "v1/usage": ("GET", "", {200}),
    "v1/budget": ("GET", "", {200}),
    "v1/requests/<str:request_id>": ("GET", "", {404}),
}


@pytest.fixture
def other(world):
    """A second tenant's key; the first has a model of its own and has spent."""
    world.tenant.allowed_models.add(ModelFactory(name=HIDDEN_MODEL))
    return ApiKeyFactory(tenant=TenantFactory(tier=world.tenant.tier, models=[world.sonnet])).plain


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("pattern", data_plane, ids=lambda each: str(each.pattern))
async def test_one_tenants_key_learns_and_spends_nothing_of_anothers(
    world, other, upstream_answering, pattern
):
    method, body, allowed = ASKED[str(pattern.pattern)]
    async with upstream_answering(raw(message())) as upstream:
        spent = await post(world.key)
        await sync_to_async(drain_all)()
        path = "/" + re.sub(r"<path:name>", HIDDEN_MODEL, str(pattern.pattern))
        path = re.sub(r"<str:request_id>", spent.headers["request-id"], path)
        answer = await (post(other, body, path=path) if method == "POST" else get(other, path))

    assert answer.status in allowed, answer.json
    told = answer.body.decode()
    if method == "GET" and answer.status == 200:
        assert HIDDEN_MODEL not in told
        assert "0.00375" not in told
    assert spent.headers["request-id"] not in told or answer.status == 404
    assert len(upstream.asked) == 1


def control_plane():
    """Every address below /api/, with something in place of its parameters."""

    def walk(patterns, prefix):
        for pattern in patterns:
            text = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, text)
            else:
                yield text

    for found in walk(get_resolver("gateway_project.api.urls").url_patterns, "/api/"):
        plain = re.sub(r"\(\?P<\w+>[^)]*\)|<[^>]+>", "1", found)
        path = re.sub(r"[\^$\\]|/\?", "", plain).replace("//", "/")
        if path not in DESCRIPTION:
            yield path


@pytest.mark.django_db
@pytest.mark.parametrize("path", sorted(set(control_plane())))
def test_the_control_api_knows_neither_tenants_keys_nor_members(path, redis_server):
    member = MembershipFactory(user=UserFactory(), role="owner")
    tenants_key = ApiKeyFactory(tenant=member.tenant).plain
    stranger, by_session, by_token = APIClient(), APIClient(), APIClient()
    stranger.credentials(HTTP_AUTHORIZATION=f"Bearer {tenants_key}", HTTP_X_API_KEY=tenants_key)
    by_session.force_login(member.user)
    token = rotate_token(member.user)
    by_token.credentials(HTTP_AUTHORIZATION=f"Token {token}")

    for method in ("get", "post", "put", "patch", "delete"):
        assert getattr(stranger, method)(path).status_code in (401, 405), (method, path)
        assert getattr(by_session, method)(path).status_code in (401, 405), (method, path)
        assert getattr(by_token, method)(path).status_code in (403, 405), (method, path)


def console():
    """The changelist, add and change page of every model of the console, and its own pages."""
    for model in admin.site._registry:
        place = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{place}_changelist")
        yield reverse(f"{place}_add")
        yield reverse(f"{place}_change", args=[1])
        yield reverse(f"{place}_delete", args=[1])
    yield reverse("admin:index")


@pytest.mark.django_db
def test_the_console_sends_members_and_strangers_to_its_login(client):
    pages = list(console())
    for login in (False, True):
        if login:
            client.force_login(MembershipFactory(role="owner").user)
        for page in pages:
            for method in (client.get, client.post):
                answer = method(page)
                assert answer.status_code == 302, page
                assert answer["Location"].startswith("/admin/login/"), page
