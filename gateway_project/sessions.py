"""Sessions that a copy of the database does not reveal.

Django's own store the cookie's value as it is, and the session's content, which may be the token of a password reset,
readable. Here a row is found by the cookie's digest, and its content is encrypted (`SECRETS_KEYS`).
"""

import hashlib
from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore

from gateway_project.ground.secrets import UnreadableSecret, decrypt, encrypt


class SessionStore(DatabaseStore):
    """Django's store, by digest. Only the synchronous methods: no asynchronous page of ours has a session."""

    def _get_session_from_db(self) -> Any:
        plain = self._session_key
        if plain is None:
            return None
        self._session_key = stored_key(plain)
        row = super()._get_session_from_db()  # type: ignore[misc]  # not in the stubs; it clears a key that it does not find
        self._session_key = None if row is None else plain
        return row

    def exists(self, session_key: str) -> bool:
        return super().exists(stored_key(session_key))

    def create_model_instance(self, data: Any) -> Any:
        row = super().create_model_instance(data)
        row.session_key = stored_key(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(stored_key(key))

    def encode(self, session_dict: dict[str, Any]) -> str:
        return encrypt(super().encode(session_dict))

    def decode(self, session_data: bytes | str) -> dict[str, Any]:
        """The session's content; empty, as if it had expired, if no key of SECRETS_KEYS decrypts it."""
        text = session_data.decode() if isinstance(session_data, bytes) else session_data
        try:
            return super().decode(decrypt(text))
        except UnreadableSecret:
            return {}


def stored_key(session_key: str) -> str:
    """What is stored of a cookie: 160 bits of its SHA-256, which is what fits Django's column."""
    return hashlib.sha256(session_key.encode()).hexdigest()[:40]
