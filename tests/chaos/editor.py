"""A process of the control plane that edits policies as staff do, in the console or by the ORM.

Reads one JSON object a line (`{"by": "orm", "edit": "suspend", "slug": …}`), makes the edit, prints `done`.
"""

import json
import sys
from decimal import Decimal
from typing import Any

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402 - models need Django set up
from django.test import Client  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402
from django.urls import reverse  # noqa: E402
from django.utils import timezone  # noqa: E402

from billing.models import ModelPrice  # noqa: E402
from routing.models import Model  # noqa: E402
from tenants.models import AllowedModel, Tenant, Tier  # noqa: E402
from tests.gateway_project.console.tenant_form import form_of  # noqa: E402


class Orm:
    """Plain model code, as a script or a shell would have it."""

    def revoke(self, tenant: Tenant, order: dict[str, Any]) -> None:
        key = tenant.keys.get()
        key.revoked_at = timezone.now()
        key.save()

    def suspend(self, tenant: Tenant, order: dict[str, Any]) -> None:
        Tenant.objects.filter(pk=tenant.pk).update(status="suspended")

    def take_the_model(self, tenant: Tenant, order: dict[str, Any]) -> None:
        AllowedModel.objects.filter(tenant=tenant).delete()

    def lower_a_limit(self, tenant: Tenant, order: dict[str, Any]) -> None:
        tenant.max_requests_per_minute = 0
        tenant.save()

    def change_the_tier(self, tenant: Tenant, order: dict[str, Any]) -> None:
        tenant.tier = Tier.objects.get(name=order["tier"])
        tenant.save()

    def change_the_price(self, tenant: Tenant, order: dict[str, Any]) -> None:
        usd = {"input_usd": Decimal(order["usd"]), "output_usd": Decimal(order["usd"])}
        ModelPrice.objects.create(model=Model.objects.get(name=order["model"]), **usd)


class Console:
    """The forms of the admin."""

    def __init__(self) -> None:
        owner, _ = User.objects.get_or_create(username="editor", is_superuser=True, is_staff=True)
        self._client = Client(headers={"host": "127.0.0.1"})
        self._client.force_login(owner, backend="django.contrib.auth.backends.ModelBackend")

    def _post(self, page: str, fields: dict[str, Any], *arguments: Any) -> None:
        answer = self._client.post(reverse(f"admin:{page}", args=arguments), fields)
        if answer.status_code != 302:
            form = (answer.context or {}).get("adminform")
            raise RuntimeError(f"{page}: {answer.status_code} {form and form.form.errors}")

    def _change(self, tenant: Tenant, **fields: Any) -> None:
        form = {
            name: value
            for name, value in form_of(tenant, confirmed="on", **fields).items()
            if value is not None
        }
        self._post("tenants_tenant_change", form, tenant.pk)

    def revoke(self, tenant: Tenant, order: dict[str, Any]) -> None:
        self._post("tenants_apikey_revoke", {}, tenant.keys.get().pk)

    def suspend(self, tenant: Tenant, order: dict[str, Any]) -> None:
        self._change(tenant, status="suspended")

    def take_the_model(self, tenant: Tenant, order: dict[str, Any]) -> None:
        self._change(tenant, models=[])

    def lower_a_limit(self, tenant: Tenant, order: dict[str, Any]) -> None:
        self._change(tenant, max_requests_per_minute=0)

    def change_the_tier(self, tenant: Tenant, order: dict[str, Any]) -> None:
        self._change(tenant, tier=Tier.objects.get(name=order["tier"]).pk)

    def change_the_price(self, tenant: Tenant, order: dict[str, Any]) -> None:
        now = timezone.now()
        fields = {
            "model": Model.objects.get(name=order["model"]).pk,
            "effective_from_0": f"{now:%Y-%m-%d}",
            "effective_from_1": f"{now:%H:%M:%S}",
            "input_usd": order["usd"],
            "output_usd": order["usd"],
            "web_search_usd": "0",
            "source": "staff",
            "confirmed": "on",
        }
        self._post("billing_modelprice_add", fields)


def main() -> None:
    setup_test_environment()  # a refused form then says why
    editors: dict[str, Any] = {"orm": Orm(), "console": Console()}
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        tenant = Tenant.objects.get(slug=order["slug"])
        getattr(editors[order["by"]], order["edit"])(tenant, order)
        print("done", flush=True)


if __name__ == "__main__":
    main()
