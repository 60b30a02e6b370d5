"""Make tenants without limits for the benchmark: `python -m bench.seed [TENANTS] [RPM]` prints a key of each.

RPM 0 means no limit, so that no window is kept.
"""

import os
import secrets
import sys
from decimal import Decimal

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
django.setup()

from billing.demo.tenants import seed_demo  # noqa: E402
from gateway_project.ground.policy_changes import replay_policy_changes  # noqa: E402
from routing.models import Model  # noqa: E402
from tenants.keys import KEY_START, VISIBLE, digest_of  # noqa: E402
from tenants.models import AllowedModel, ApiKey, Tenant, Tier  # noqa: E402

MODEL = "claude-sonnet-4-20250514"


def main(tenants: int = 1, rpm: int = 10_000_000) -> None:
    seed_demo()
    tier, _ = Tier.objects.update_or_create(
        name=f"bench-{rpm}",
        defaults={
            "max_requests_per_minute": rpm or None,
            "max_tokens_per_day": None,
            "max_concurrency": None,
            "monthly_budget_usd": Decimal(1_000_000),
        },
    )
    asked = Model.objects.get(name=MODEL)
    models = [each for each in (asked, asked.downgrade_to) if each]
    have = Tenant.objects.filter(tier=tier).count()
    made = Tenant.objects.bulk_create(
        Tenant(slug=f"bench-{rpm}-{number}", name=f"Bench {number}", tier=tier)
        for number in range(have, max(have, tenants))
    )
    AllowedModel.objects.bulk_create(
        [AllowedModel(tenant=tenant, model=model) for tenant in made for model in models], batch_size=5000
    )
    rows, keys = [], []
    for tenant in Tenant.objects.filter(tier=tier).order_by("pk")[:tenants]:
        key = KEY_START + secrets.token_urlsafe(32)
        keys.append(key)
        rows.append(ApiKey(tenant=tenant, name="bench", prefix=key[:VISIBLE], digest=digest_of(key)))
    ApiKey.objects.bulk_create(rows, batch_size=5000)
    # Each new row is also in the outbox. Replay that here, or it would be replayed during the measurement.
    while replay_policy_changes(limit=20_000):
        pass
    print("\n".join(keys))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
