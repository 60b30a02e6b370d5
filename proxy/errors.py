"""Errors about the request itself. Limits, keys and models have errors of their own."""

from gateway_project.ground.errors import TenantryError


class InvalidRequest(TenantryError):
    """The request does not fit the wire format. `field` names the part at fault."""

    code = "invalid_request"
    status = 400
    type = "invalid_request_error"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message, details={"param": field} if field else {})


class NotFound(TenantryError):
    code = "not_found"
    status = 404
    type = "not_found_error"


class MethodNotAllowed(TenantryError):
    code = "method_not_allowed"
    status = 405
    type = "invalid_request_error"


class UnsupportedMedia(TenantryError):
    code = "unsupported_media_type"
    status = 415
    type = "invalid_request_error"
