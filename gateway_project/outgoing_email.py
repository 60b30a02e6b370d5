"""Send email: whether that is possible, where links lead, and one function to send it that never fails silently."""

import logging
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import EmailMessage

logger = logging.getLogger(__name__)


class EmailNotSent(Exception):
    """An email was not sent; the message is for the person who caused it. `retry_after`: seconds, if waiting helps."""

    def __init__(self, reason: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


def can_send() -> bool:
    """Whether this installation sends email, which it does if EMAIL_HOST is set."""
    return bool(settings.EMAIL_HOST)


def public_link(path: str) -> str:
    """The public URL of a page. It is never built from a request, whose Host header the caller chooses."""
    return f"{settings.PUBLIC_URL}{path}"


def one_line(text: str) -> str:
    """`text` as a subject: without line breaks, which would end the header."""
    return " ".join(text.split())


def send(email: EmailMessage) -> None:
    """Send `email` through the mail server. Raises EmailNotSent; the log has the mail server's error."""
    if not can_send():
        raise EmailNotSent("this installation has no mail server (EMAIL_HOST is not set)")
    try:
        email.send()
    except (SMTPException, OSError) as error:
        logger.warning("An email could not be sent: %s: %s", type(error).__name__, error)
        raise EmailNotSent(f"the mail server did not accept it ({type(error).__name__})") from error
