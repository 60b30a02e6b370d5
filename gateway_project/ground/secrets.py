"""Secrets at rest: encrypted with a key from the environment, so that a copy of the database has none.

`SECRETS_KEYS` lists passphrases, the newest first: it encrypts, all decrypt. Rotating is to put a new one in
front, save everything again (`manage.py rotate_secrets`), and take the old one away.
"""

import base64
import hashlib

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

MARK = "enc:"


class UnreadableSecret(Exception):
    """None of `SECRETS_KEYS` fits: the one it was encrypted with has been taken away."""


def encrypt(text: str) -> str:
    return MARK + _box().encrypt(text.encode()).decode()


def decrypt(stored: str) -> str:
    """The secret behind `stored`; what was stored before there was encryption is returned as it is."""
    if not stored.startswith(MARK):
        return stored
    try:
        return _box().decrypt(stored.removeprefix(MARK).encode()).decode()
    except InvalidToken as error:
        raise UnreadableSecret("No key of SECRETS_KEYS decrypts this secret.") from error


def _box() -> MultiFernet:
    return MultiFernet([Fernet(_key(passphrase)) for passphrase in settings.SECRETS_KEYS])


def _key(passphrase: str) -> bytes:
    # The passphrases are long and random (start-up sees to that), so one round is enough.
    return base64.urlsafe_b64encode(hashlib.sha256(b"tenantry secrets\0" + passphrase.encode()).digest())
