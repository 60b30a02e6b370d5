"""The control API against its own description: what the schema says is what a client meets."""

import pytest
import schemathesis
from django.core import signals
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from tenants.people.operators import rotate_token
from tests.factories import (
    AdjustmentFactory,
    ApiKeyFactory,
    ModelFactory,
    ModelPriceFactory,
    StaffFactory,
    StatementFactory,
    TenantFactory,
    UsageRecordFactory,
    WebhookEndpointFactory,
)

pytestmark = pytest.mark.slow
schema = schemathesis.openapi.from_dict(SchemaGenerator().get_schema(request=None, public=True))
schema.app = get_wsgi_application()
schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])


@pytest.fixture(autouse=True)
def one_connection():
    """The test's transaction is the only one: what a request does to connections at its ends is left out."""
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (signals.request_started, signals.request_finished):
        signal.connect(close_old_connections)


# By a parameter, because an item without one is named after its function alone: all operations by one name, of which
# a run with several workers would keep one.
@pytest.fixture(params=["of a tenant"])
def furnished(db, redis_server):
    tenant = TenantFactory(slug="acme", models=[ModelFactory(name="claude-sonnet-4-20250514")])
    key = ApiKeyFactory(tenant=tenant)
    ModelPriceFactory()
    UsageRecordFactory(tenant=tenant, api_key=key)
    AdjustmentFactory(tenant=tenant)
    StatementFactory(tenant=tenant)
    WebhookEndpointFactory(tenant=tenant)
    StaffToken.value = rotate_token(StaffFactory())


# Amounts are taken as numbers too, and a filter left empty is no filter; that a tenant, a tier or a model must
# exist is more than a schema can say.
LENIENT = [CHECKS.get_one("negative_data_rejection"), CHECKS.get_one("positive_data_acceptance")]


@schema.auth()
class StaffToken:
    """Known to the checks as what opens the door, so that they also try without it."""

    value = ""

    def get(self, case, context):
        return StaffToken.value

    def set(self, case, data, context):
        case.headers["Authorization"] = f"Token {data}"


@schema.parametrize()
@settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation_keeps_what_the_schema_promises(case, furnished):
    case.call_and_validate(excluded_checks=LENIENT)
