"""A tenant seen by finance: what is left of its prepaid balance."""

from tenants.models import Tenant


class PrepaidBalance(Tenant):
    """The same row; a page and a permission of its own."""

    class Meta:
        proxy = True
        verbose_name = "prepaid balance"
        default_permissions = ("view",)
