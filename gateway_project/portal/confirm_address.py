"""The page of the link by which an address confirms that it wants a tenant's events."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from billing.webhooks.confirmation import address_of, confirm, endpoint_of


@never_cache
@require_http_methods(["GET", "POST"])
def confirm_address(request: HttpRequest, token: str) -> HttpResponse:
    """Show a button that confirms. Opening the page does not, since mail scanners open every link."""
    endpoint = endpoint_of(token)
    if endpoint is None:
        return _page(
            request, "This link is not valid", "It has expired, or its webhook has been removed.", status=404
        )
    whose = endpoint.tenant.name if endpoint.tenant else "all tenants"
    address = address_of(endpoint)
    if request.method == "GET":
        text = f"Events for {whose} (budgets, keys, statements) will be emailed to {address}."
        return _page(request, "Confirm your address", text, asks=True)
    if not confirm(endpoint):
        return _page(request, "This link is not valid", "The webhook's address has changed.", status=404)
    return _page(request, "Confirmed", f"Events for {whose} will now be emailed to {address}.")


def _page(
    request: HttpRequest, title: str, text: str, *, asks: bool = False, status: int = 200
) -> HttpResponse:
    return render(
        request, "portal/confirm_address.html", {"title": title, "text": text, "asks": asks}, status=status
    )
