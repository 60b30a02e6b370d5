"""`mailto:` endpoints get nothing until their address confirms, by a link that is mailed there.

A customer may type anybody's address. So may staff, by mistake, and a stranger would read a tenant's spend. So their
endpoints are confirmed as well, unless the address is a staff account's or one of `OPERATOR_EMAILS`.
"""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core import signing
from django.core.mail import EmailMessage
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from billing.address_guard import MAIL
from billing.models import DeliveryStatus, WebhookDelivery, WebhookEndpoint
from gateway_project.outgoing_email import one_line, public_link, send
from tenants.people.email_limits import DAY, WEEK, EmailLimit, count

VALID_SECONDS = WEEK
MOST_FOR_A_TENANT = 20
MOST_FOR_AN_ADDRESS = 3
_SALT = "billing.webhooks.confirmation"


def awaits_confirmation(endpoint: WebhookEndpoint) -> bool:
    address = address_of(endpoint)
    if address is None or endpoint.confirmed_address == address:
        return False
    return not (_is_operators(endpoint) and _is_staffs(address))


def ask(endpoint: WebhookEndpoint, *, by_itself: bool = False) -> None:
    """Mail the address a confirmation link. `by_itself`: because an event waits, at most once a week.

    Raises TooManyEmails, EmailNotSent.
    """
    address = address_of(endpoint)
    if address is None:
        return
    whose = "operator" if endpoint.tenant_id is None else str(endpoint.tenant_id)
    about = "confirmation emails to one address"
    limits = [EmailLimit(about, f"confirmation:{whose}:{address.lower()}", MOST_FOR_AN_ADDRESS, DAY)]
    limits += [
        EmailLimit("confirmation emails from one organisation", f"confirmation:{whose}", MOST_FOR_A_TENANT)
    ]
    if by_itself:
        limits += [EmailLimit(about, f"confirmation by itself:{whose}:{address.lower()}", 1, WEEK)]
    count(limits)
    name = one_line(endpoint.tenant.name if endpoint.tenant else settings.OPERATOR_NAME)
    token = signing.dumps([endpoint.pk, address], salt=_SALT)
    send(
        EmailMessage(
            subject=f"Confirm that you want emails about {name}",
            body=(
                f"Someone asked to email this address about the budgets, keys and statements of {name}.\n"
                "To receive these emails, confirm within a week:\n\n"
                f"{public_link(reverse('portal:confirm-address', args=[token]))}\n\n"
                "If you did not expect this, ignore this email. Nothing is sent until you confirm.\n"
            ),
            to=[address],
            headers={"Auto-Submitted": "auto-generated"},
        )
    )


def endpoint_of(token: str) -> WebhookEndpoint | None:
    """The endpoint of a link; `None` if the link has expired, or the endpoint is gone or has another address now."""
    try:
        pk, address = signing.loads(token, salt=_SALT, max_age=VALID_SECONDS)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    rows = WebhookEndpoint.objects.select_related("tenant").filter(pk=pk)
    return rows.filter(url=f"{MAIL}{address}").first()


@transaction.atomic
def confirm(endpoint: WebhookEndpoint) -> bool:
    """Confirm the endpoint's address; waiting events are sent at once. False if it has another address now."""
    address = address_of(endpoint)
    if not WebhookEndpoint.objects.filter(pk=endpoint.pk, url=endpoint.url).update(confirmed_address=address):
        return False
    WebhookDelivery.objects.filter(endpoint=endpoint, status=DeliveryStatus.PENDING).update(
        next_attempt_at=timezone.now()
    )
    return True


def address_of(endpoint: Any) -> str | None:
    """The address of a `mailto:` endpoint; `None` for others."""
    url: str = endpoint.url
    return url.removeprefix(MAIL) if url.startswith(MAIL) else None


def _is_operators(endpoint: WebhookEndpoint) -> bool:
    """Whether staff set the address: the operator's endpoints, and tenants' alert addresses."""
    return endpoint.tenant_id is None or endpoint.alert_address


def _is_staffs(address: str) -> bool:
    if address.lower() in {each.lower() for each in settings.OPERATOR_EMAILS}:
        return True
    return User.objects.filter(email__iexact=address, is_staff=True, is_active=True).exists()
