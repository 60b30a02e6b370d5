"""Staff roles: groups with the permissions they need. Later changes are staff's own, or a later migration's."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

APPS = ("tenants", "routing", "billing", "auth", "auditlog")

VIEW_MONEY = [
    f"billing.view_{model}"
    for model in (
        "modelprice", "usagerecord", "dailyusage", "usageexport", "statement", "adjustment", "budgetalert",
        "driftreport", "upstreamusage", "ledgerbatch",
    )
]
VIEW_CUSTOMERS = [f"tenants.view_{model}" for model in ("tenant", "tier", "tierroute", "allowedmodel")]
VIEW_ROUTING = ["routing.view_model", "routing.view_complexityrule"]
VIEW_WEBHOOKS = [f"billing.view_{model}" for model in ("webhookendpoint", "webhookdelivery", "webhookattempt")]
VIEW_PEOPLE = ["tenants.view_membership", "tenants.view_invitation"]

ROLES = {
    # Runs the business day by day: customers, keys, models, webhooks; no prices, no money, no people.
    "Operator": [
        *VIEW_MONEY, *VIEW_CUSTOMERS, *VIEW_ROUTING, *VIEW_WEBHOOKS, *VIEW_PEOPLE,
        "tenants.add_tenant", "tenants.change_tenant",
        "tenants.add_tier", "tenants.change_tier",
        "tenants.add_tierroute", "tenants.change_tierroute", "tenants.delete_tierroute",
        "tenants.add_allowedmodel", "tenants.change_allowedmodel", "tenants.delete_allowedmodel",
        "tenants.view_apikey", "tenants.add_apikey", "tenants.change_apikey",
        "tenants.add_membership", "tenants.change_membership", "tenants.delete_membership",
        "tenants.view_policychange",
        "routing.add_model", "routing.change_model",
        "routing.add_complexityrule", "routing.change_complexityrule", "routing.delete_complexityrule",
        "billing.add_usageexport",
        "billing.add_webhookendpoint", "billing.change_webhookendpoint", "billing.delete_webhookendpoint",
        "billing.change_webhookdelivery",
        "auditlog.view_logentry",
    ],
    # Sees every number, exports, books adjustments and prices; changes no customer and sees no key.
    "Finance": [
        *VIEW_MONEY, *VIEW_CUSTOMERS, *VIEW_ROUTING,
        "billing.add_usageexport", "billing.add_adjustment", "billing.add_modelprice", "billing.delete_modelprice",
        "auditlog.view_logentry",
    ],
    # Looks, and touches nothing; sees no key and no prices of ours.
    "Support": [
        *VIEW_CUSTOMERS, *VIEW_ROUTING, *VIEW_WEBHOOKS, *VIEW_PEOPLE,
        "billing.view_usagerecord", "billing.view_dailyusage", "billing.view_budgetalert", "billing.view_statement",
    ],
    # Everything, people and roles too.
    "Owner": None,
}


def create_roles(apps, schema_editor):
    # Django makes permissions after all migrations; these roles need them now.
    for label in APPS:
        config = apps.get_app_config(label)
        config.models_module = True
        create_permissions(config, apps=apps, verbosity=0)
        config.models_module = None
    group_of, permission_of = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    known = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in permission_of.objects.filter(content_type__app_label__in=APPS).select_related("content_type")
    }
    for name, wanted in ROLES.items():
        group, _ = group_of.objects.get_or_create(name=name)
        group.permissions.add(*(known.values() if wanted is None else (known[codename] for codename in wanted)))


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0002_period_start"),
        ("billing", "0002_ledger"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("auditlog", "0001_initial"),
    ]
    operations = [migrations.RunPython(create_roles, migrations.RunPython.noop)]
