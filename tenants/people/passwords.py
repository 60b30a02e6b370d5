"""Links to choose a new password, for people who forgot theirs."""

from django.contrib.auth.forms import PasswordResetForm
from django.contrib.auth.tokens import default_token_generator
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from gateway_project.outgoing_email import public_link, send
from tenants.people.email_limits import EmailLimit, count

MOST_FOR_AN_ADDRESS = 3
MOST_FROM_AN_IP = 20


def count_request(*, email: str, ip: str) -> None:
    """Count a request whether or not the account exists, so that the response does not tell. Raises TooManyEmails."""
    count([EmailLimit("password resets from one IP address", f"password from:{ip}", MOST_FROM_AN_IP)])
    # After the limit by IP, so that nobody fills the table with made-up addresses.
    count(
        [
            EmailLimit(
                "password resets for one email address",
                f"password:{email.strip().lower()}",
                MOST_FOR_AN_ADDRESS,
            )
        ]
    )


def mail_links(email: str) -> int:
    """Mail a link to each account with this address. Returns how many. Raises EmailNotSent."""
    users = list(PasswordResetForm().get_users(email))
    for user in users:
        uid = urlsafe_base64_encode(force_bytes(user.pk))
        token = default_token_generator.make_token(user)
        link = public_link(reverse("portal:password-choose", args=[uid, token]))
        text = render_to_string("portal/password_email.txt", {"link": link, "username": user.get_username()})
        send(EmailMessage(subject="Choose a new password", body=text, to=[user.email]))
    return len(users)
