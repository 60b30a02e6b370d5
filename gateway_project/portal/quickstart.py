"""The quickstart: snippets with this installation's address and one of the tenant's models."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from gateway_project.portal.access import member, page
from tenants.models import Membership


@member()
def quickstart(request: HttpRequest, membership: Membership) -> HttpResponse:
    model = membership.tenant.allowed_models.filter(enabled=True).order_by("name").first()
    return page(
        request,
        membership,
        "quickstart",
        "Quickstart",
        base=settings.PUBLIC_URL,
        model=model.name if model else "auto",
    )
