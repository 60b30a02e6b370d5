"""`python -m gateway_project.server.prepare`: migrate the schema and make the first rows. `make up` runs it.

It is a process of its own, since Django would stay in the memory of `make up`.
"""

import json
import os
import secrets
from pathlib import Path
from typing import Any

from gateway_project.ground import env
from gateway_project.server.banner import open_output, step
from gateway_project.server.embedded import write_private


def main() -> None:
    import django

    open_output()
    data = Path(os.environ["DATA_DIR"])
    file = data / "demo.json"
    demo: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    with_demo = env.flag("DEMO", default=True)
    django.setup()
    with step("Migrating the database"):
        _migrate()
    with step("Seeding the demo" if with_demo else "Seeding models, prices and tiers"):
        seed = _seed_demo if with_demo else _seed_basics
        seed(demo)
    write_private(file, json.dumps(demo))


def _migrate() -> None:
    from django.core.management import call_command

    call_command("migrate", verbosity=0, interactive=False)
    _open_meter()


def _open_meter() -> None:
    """Open the meter without a quarantine if nothing was ever booked, so that nothing can be lost."""
    from billing.models import UsageRecord
    from gateway_project.ground.redis_client import store
    from gateway_project.ground.redis_keys import every_shard, shard_key

    if not UsageRecord.objects.exists():
        for shard in every_shard():
            store().hsetnx(shard_key(shard), "opens_ms", 0)
            store().hsetnx(shard_key(shard), "epoch", secrets.token_hex(16))


def _seed_demo(demo: dict[str, Any]) -> None:
    from billing.demo.tenants import seed_demo
    from billing.demo.usage import seed_portal, seed_usage

    demo["keys"] = seed_demo(demo.get("keys", {}))
    if "portal" not in demo:
        seed_usage()
        demo["portal"] = secrets.token_urlsafe(12)
        seed_portal(demo["portal"])
    _make_admin(demo)


def _seed_basics(demo: dict[str, Any]) -> None:
    """Seed a catalogue without tenants; the dashboard says what to do next."""
    from billing.demo.tenants import seed_basics

    seed_basics()
    _make_admin(demo)


def _make_admin(demo: dict[str, Any]) -> None:
    from django.contrib.auth import get_user_model

    users = get_user_model().objects
    if users.filter(username="admin").exists():
        return
    demo["password"] = secrets.token_urlsafe(12)
    users.create_superuser("admin", password=demo["password"])


if __name__ == "__main__":
    main()
