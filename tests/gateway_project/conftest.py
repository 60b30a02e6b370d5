import pytest
from django.contrib.auth.models import Group

from tests.factories import StaffFactory, UserFactory


@pytest.fixture
def staff(client):
    """A client logged in as superuser."""
    client.force_login(StaffFactory())
    return client


@pytest.fixture
def as_role(client):
    """`as_role("Finance")` answers a client logged in as someone with that role only."""

    def log_in(role: str):
        user = UserFactory(is_staff=True)
        user.groups.add(Group.objects.get(name=role))
        client.force_login(user)
        return client

    return log_in
