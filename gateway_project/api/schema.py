"""Add the errors that every operation may respond with to the control API's description."""

from typing import Any

_WHY = {
    "400": "The request is not valid. The response says which fields and why.",
    "401": "The token is missing or not valid.",
    "403": "The token's owner is not an operator.",
    "404": "Not found.",
    "405": "The method is not allowed here.",
    "409": "The object is in use. The response says by what.",
    "415": "The body is not JSON.",
    "503": "The database is unavailable. `retry-after` says when to try again.",
}
_ERROR = {
    "type": "object",
    "description": "`detail` says what is wrong. In a 400, a member named after each invalid field does.",
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
