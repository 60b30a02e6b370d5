"""Set up and check the second factor of an account."""

import logging
import secrets

from django.contrib.auth.models import User
from django.db import transaction

from gateway_project.ground.secrets import UnreadableSecret, encrypt
from tenants.models import SecondFactor

logger = logging.getLogger(__name__)
SEED_BYTES = 20


class UncheckableCode(Exception):
    """The account's second factor cannot be checked: SECRETS_KEYS lacks the key that its seed was encrypted with."""

    def __init__(self) -> None:
        super().__init__(
            "Your code cannot be checked: the server does not have the key that its secret is encrypted with. "
            "Ask an operator."
        )


def has_second_factor(user: User) -> bool:
    return SecondFactor.objects.filter(user=user, confirmed=True).exists()


def set_up(user: User) -> SecondFactor:
    """The account's second factor. If it has none, a new one, which a code has to confirm."""
    device, _ = SecondFactor.objects.get_or_create(
        user=user, defaults={"name": "Authenticator app", "confirmed": False, "secret": _new_secret()}
    )
    if not device.confirmed and not _readable(device):
        device.secret = _new_secret()
        device.save(update_fields=["secret"])
    return device


@transaction.atomic
def check(user: User, code: str) -> bool:
    """Whether `code` is the account's current one. Raises UncheckableCode, so that nobody gets in without a check."""
    # Locked, so that two logins cannot use the same code, and every wrong code is counted.
    device = SecondFactor.objects.select_for_update().filter(user=user).first()
    if device is None:
        return False
    try:
        return device.verify_token(code)
    except UnreadableSecret as error:
        logger.error("Second factor of account %s: %s", user.pk, error)  # a traceback would add nothing
        raise UncheckableCode from error


def _new_secret() -> str:
    return encrypt(secrets.token_hex(SEED_BYTES))


def _readable(device: SecondFactor) -> bool:
    try:
        return bool(device.seed)
    except UnreadableSecret:
        return False
