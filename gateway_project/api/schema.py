"""Add the errors that every operation may respond with to the control API's description."""

from typing import Any

_WHY = {
    "400": "Something in the request is not as it must be; the members of the answer say what.",
    "401": "No token, or one that is not known.",
    "403": "The token's owner is no operator.",
    "404": "There is no such thing.",
    "405": "Not with this method.",
    "409": "It is in use; the answer says by what.",
    "415": "The body is not JSON.",
    "503": "The database does not answer right now; `retry-after` says when to try again.",
}
_ERROR = {
    "type": "object",
    "description": "`detail` says what is wrong; in a 400, members named like the fields do.",
    "properties": {"detail": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}},
    "additionalProperties": True,
}


def with_errors(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A post-processing hook for drf-spectacular."""
    result["components"]["schemas"]["Error"] = _ERROR
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path in result["paths"].values():
        for operation in path.values():
            for status, why in _WHY.items():
                operation["responses"].setdefault(status, {"description": why, "content": content})
    return result
