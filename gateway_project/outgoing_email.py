"""Email: whether it can be sent, where its links lead, and one way to send it that never fails in silence."""

import logging
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import EmailMessage

logger = logging.getLogger(__name__)


class EmailNotSent(Exception):
    """Why it was not sent, in a sentence for whoever caused it. `retry_after`: seconds, where waiting helps."""

    def __init__(self, reason: str, *, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


def can_send() -> bool:
    """Whether this installation sends email at all: it does once EMAIL_HOST is set."""
    return bool(settings.EMAIL_HOST)


def public_link(path: str) -> str:
    """The address of a page as people elsewhere reach it. Never built from a request: its Host is the caller's word."""
    return f"{settings.PUBLIC_URL}{path}"


def one_line(text: str) -> str:
    """`text` for a subject: a line break in a name must not end the header."""
    return " ".join(text.split())


def send(email: EmailMessage) -> None:
    """Hand it to the mail server. Raises EmailNotSent; the log has the mail server's own words."""
    if not can_send():
        raise EmailNotSent("this installation has no mail server (EMAIL_HOST is not set)")
    try:
        email.send()
    except (SMTPException, OSError) as error:
        logger.warning("An email could not be sent: %s: %s", type(error).__name__, error)
        raise EmailNotSent(f"the mail server did not accept it ({type(error).__name__})") from error
