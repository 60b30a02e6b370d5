"""Budget modes: a prepaid balance and a monthly budget have a live counter each, and a call moves one of them.

So the counter of the mode a tenant is not in says too little once it comes back. It is dropped instead: the first
call that wants it finds it missing, and has it rebuilt from the ledger, where every call is.
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
    """After a save that may have changed the budget mode: drop the counter that is left, once it is committed.

    By then the new policy is announced, so that no call is admitted on that counter any more.
    """
    transaction.on_commit(partial(_leave, tenant.pk))


def _leave(tenant_id: int) -> None:
    try:
        forget_idle_counters(Tenant.objects.filter(pk=tenant_id))
    except STORE_ERRORS:
        logger.warning("counters of the other budget mode not dropped; the next sweep will")


def forget_idle_counters(tenants: QuerySet[Tenant] | None = None) -> int:
    """Drop the counter of the mode each of `tenants` is not in; how many were there. Without any: a sweep over all
    who ever had a balance, for what was changed in other ways or while Redis was away.
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
