"""Tenants without limits for the benchmark: `python -m bench.seed [TENANTS] [RPM]` prints a key of each."""

import os
import sys
from decimal import Decimal

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
django.setup()

from gateway_project.demo import seed_demo  # noqa: E402
from routing.models import Model  # noqa: E402
from tenants.keys import issue_key  # noqa: E402
from tenants.models import AllowedModel, Tenant, Tier  # noqa: E402


def main(tenants: int = 1, rpm: int = 10_000_000) -> None:
    seed_demo()
    tier, _ = Tier.objects.update_or_create(
        name="bench",
        defaults={
            "max_requests_per_minute": rpm,
            "max_tokens_per_day": None,
            "max_concurrency": None,
            "monthly_budget_usd": Decimal(1_000_000),
        },
    )
    models = list(Model.objects.all())
    for number in range(tenants):
        tenant, made = Tenant.objects.get_or_create(
            slug=f"bench-{number}", defaults={"name": f"Bench {number}", "tier": tier}
        )
        if made:
            for model in models:
                AllowedModel.objects.create(tenant=tenant, model=model)
        print(issue_key(tenant=tenant, name="bench").key)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
