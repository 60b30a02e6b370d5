"""Secrets at rest, encrypted with a key from the environment, so that a copy of the database reveals none.

`SECRETS_KEYS` lists passphrases, the newest first. The first one encrypts; all of them decrypt. To rotate, put a new
one in front, run `manage.py rotate_secrets` to encrypt everything again, and remove the old one.
"""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

MARK = "enc:"


class UnreadableSecret(Exception):
    """None of `SECRETS_KEYS` decrypts it: the one it was encrypted with was removed."""


def encrypt(text: str) -> str:
    return MARK + _box().encrypt(text.encode()).decode()


def decrypt(stored: str) -> str:
    """The secret behind `stored`; a value from before there was encryption is returned as it is.

    Raises UnreadableSecret.
    """
    if not stored.startswith(MARK):
        return stored
    try:
        return _box().decrypt(stored.removeprefix(MARK).encode()).decode()
    except InvalidToken as error:
        raise UnreadableSecret("No key of SECRETS_KEYS decrypts this secret.") from error


def _box() -> MultiFernet:
    return MultiFernet([Fernet(_key(passphrase)) for passphrase in settings.SECRETS_KEYS])


def _key(passphrase: str) -> bytes:
    # One round is enough: start-up checks that the passphrases are long and random.
    return base64.urlsafe_b64encode(hashlib.sha256(b"tenantry secrets\0" + passphrase.encode()).digest())
