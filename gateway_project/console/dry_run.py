"""For a tenant's page: what would happen to a request now? The meter decides; nothing is written."""

import asyncio
from typing import Any

from billing.meter.lease import RequestMetadata
from billing.meter.meter import Meter
from billing.meter.output_sizes import OutputSizes
from billing.prices.price_book import price_book
from proxy.dialects.base import ParsedRequest
from proxy.pipeline.charge import BYTES_PER_TOKEN
from proxy.pipeline.decision import decision_on
from proxy.pipeline.plan import plan_by
from routing.choice import Ask
from tenants.models import Tenant
from tenants.policy import KeyPolicy, Principal
from tenants.snapshots import policy_of, read_version

# Staff ask for the tenant, not for one of its keys, so the key has no limits.
NO_KEY = KeyPolicy(
    id=0,
    name="",
    prefix="",
    expires_at=None,
    revoked_at=None,
    requests_per_minute=None,
    monthly_budget_nano=None,
)


def ask_of(
    *, model: str, prompt_tokens: int, max_tokens: int, messages: int, tools: int, system: str, end_user: str
) -> Ask:
    """A request of this size. An empty model means the tenant's default."""
    return Ask(
        model=model or None,
        max_tokens=max_tokens,
        min_output_tokens=1,
        stream=False,
        input_bound_tokens=prompt_tokens,
        text_bytes=prompt_tokens * BYTES_PER_TOKEN,
        message_count=messages,
        tool_count=tools,
        system_text=system,
        end_user=end_user,
    )


def what_would_happen(tenant: Tenant, ask: Ask, *, may_downgrade: bool = True) -> dict[str, Any]:
    """The decision as in `POST /v1/route`. Raises the refusals that come before any limit is checked."""
    version = read_version(tenant.pk)
    principal = Principal(policy=policy_of(tenant, version=version), key=NO_KEY)
    parsed = ParsedRequest(ask=ask, wants_usage=True, caches=False, tags={})
    plan = plan_by(
        principal, parsed, price_book(version.everyone), OutputSizes(), may_downgrade=may_downgrade
    )
    metadata = RequestMetadata(wire="", model_requested=ask.model or "", stream=False, end_user=ask.end_user)

    async def decide() -> dict[str, Any]:
        meter = Meter()
        try:
            return await decision_on(meter, plan, metadata=metadata)
        finally:
            await meter.close()

    decision = asyncio.run(decide())
    if principal.policy.suspended:
        decision["would_refuse"] = ["tenant_suspended", *decision["would_refuse"]]
        decision["would_serve"] = None
    return decision
