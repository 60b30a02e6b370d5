"""The root of the error hierarchy: services raise, and the caller's dialect renders code, status, type and details."""

from typing import Any


class TenantryError(Exception):
    """Base of every error a caller may see. `headers` are added to the response, `details` to its `error` object."""

    code = "internal_error"
    status = 500
    type = "api_error"

    def __init__(
        self, message: str, *, details: dict[str, Any] | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or {}
        self.headers = headers or {}
