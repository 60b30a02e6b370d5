"""A tenant's prepaid balance, as finance sees it."""

from tenants.models import Tenant


class PrepaidBalance(Tenant):
    """A proxy of the tenant's row, for a page and permissions of its own."""

    class Meta:
        proxy = True
        verbose_name = "prepaid balance"
        default_permissions = ("view",)
