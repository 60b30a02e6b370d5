"""Old and new code run side by side during an upgrade: a migration may neither break the old nor lock for long."""

from typing import Any

import pytest
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.models import NOT_PROVIDED

# Everything up to here was written before there was an installation to upgrade.
FIRST_RELEASE = {"routing": 4, "tenants": 10, "billing": 20}
# Tables too large for a statement that rewrites or locks them.
LARGE = {"usagerecord", "dailyusage", "webhookdelivery"}


def dangers(operation: Any) -> list[str]:
    """What is wrong with `operation` while old code still runs, in words."""
    found = []
    if isinstance(
        operation,
        migrations.RemoveField | migrations.DeleteModel | migrations.RenameField | migrations.RenameModel,
    ):
        found.append(
            "old code still reads what it takes away: stop using it in one release, drop it in the next"
        )
    if isinstance(operation, migrations.AddField):
        field = operation.field
        if not field.null and field.db_default is NOT_PROVIDED and not field.many_to_many:
            found.append("old code inserts rows without it: give it a db_default, or let it be NULL")
    name = getattr(operation, "model_name", getattr(operation, "name", "")).lower()
    if name in LARGE:
        if isinstance(operation, migrations.AddIndex):
            found.append("it locks a large table for writing: use AddIndexConcurrently")
        if isinstance(operation, migrations.AddConstraint):
            found.append("it scans a large table under a lock: add it NOT VALID, then validate it")
        if isinstance(operation, migrations.AlterField):
            found.append("it may rewrite a large table: add a column, fill it in batches, switch over")
    if isinstance(operation, migrations.RunPython | migrations.RunSQL) and not operation.reversible:
        found.append("it cannot be taken back: give it its reverse")
    return found


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (migrations.RemoveField("tenant", "name"), "stop using it"),
        (migrations.DeleteModel("Tenant"), "stop using it"),
        (migrations.RenameField("tenant", "name", "title"), "stop using it"),
        (migrations.AddField("tenant", "x", models.IntegerField(default=1)), "db_default"),
        (migrations.AddIndex("usagerecord", models.Index(fields=["model"], name="x")), "Concurrently"),
        (migrations.AlterField("usagerecord", "model", models.TextField()), "rewrite"),
        (migrations.RunSQL("SELECT 1"), "reverse"),
    ],
)
def test_a_dangerous_operation_is_told_from_a_safe_one(operation, said):
    assert said in " ".join(dangers(operation))


@pytest.mark.parametrize(
    "operation",
    [
        migrations.AddField("tenant", "x", models.IntegerField(null=True)),
        migrations.AddField("tenant", "x", models.IntegerField(db_default=1)),
        migrations.AddIndex("tenant", models.Index(fields=["name"], name="x")),
        migrations.RunSQL("SELECT 1", migrations.RunSQL.noop),
    ],
)
def test_a_safe_operation_is_let_through(operation):
    assert dangers(operation) == []


def ours() -> list[Any]:
    loader = MigrationLoader(None)
    return [each for (app, _), each in sorted(loader.disk_migrations.items()) if app in FIRST_RELEASE]


def test_no_migration_since_the_first_release_is_dangerous():
    late = [each for each in ours() if int(each.name[:4]) > FIRST_RELEASE[each.app_label]]
    told = {
        f"{each.app_label}.{each.name}: {why}"
        for each in late
        for step in each.operations
        for why in dangers(step)
    }

    assert told == set()


def test_every_migration_can_be_taken_back():
    for migration in ours():
        for operation in migration.operations:
            assert operation.reversible, f"{migration}: {operation}"
