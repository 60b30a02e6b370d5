"""Keep live counters right when a tenant's budget mode changes.

A prepaid balance and a monthly budget have a live counter each, and a call changes only that of the current mode. The
other one would be too low once its mode is back. So it is deleted: the first call that needs it finds it missing, and
it is rebuilt from the ledger, which has every call.
"""

import logging
from functools import partial

from django.db import transaction
from django.db.models import Q, QuerySet

from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import PREPAID_COUNTER, budget_counter, named_key
from tenants.models import Tenant
from tenants.policy import BudgetMode
from tenants.spend import period_start

logger = logging.getLogger(__name__)


def mode_changed(tenant: Tenant) -> None:
    """Delete the counter of the mode that `tenant` is not in, once this transaction commits.

    Call it after a save that may have changed the mode. By the commit the new policy is announced, so no call is
    admitted on that counter any more.
    """
    transaction.on_commit(partial(_leave, tenant.pk))


def _leave(tenant_id: int) -> None:
    try:
        forget_idle_counters(Tenant.objects.filter(pk=tenant_id))
    except STORE_ERRORS:
        logger.warning("counters of the other budget mode not dropped; the next sweep will")


def forget_idle_counters(tenants: QuerySet[Tenant] | None = None) -> int:
    """Delete the counter of the mode that each of `tenants` is not in. Returns how many existed.

    By default it goes through all tenants who ever had a balance, for modes changed by other means or while Redis was
    away.
    """
    if tenants is None:
        tenants = Tenant.objects.filter(Q(topped_up_usd__gt=0) | Q(budget_mode=BudgetMode.PREPAID.value))
    rows = tenants.annotate(period=period_start()).values_list("pk", "budget_mode", "period")
    with store().pipeline(transaction=False) as pipeline:
        for tenant_id, mode, period in rows:
            prepaid = mode == BudgetMode.PREPAID
            idle = budget_counter(period.isoformat()) if prepaid else PREPAID_COUNTER
            pipeline.unlink(named_key(tenant_id, idle))
        return sum(pipeline.execute())
