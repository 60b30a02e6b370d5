"""The wire formats, and which of them a caller speaks."""

from collections.abc import Mapping

from proxy.dialects.anthropic import Anthropic
from proxy.dialects.base import Dialect
from proxy.dialects.openai import OpenAI

ANTHROPIC = Anthropic()
OPENAI = OpenAI()


def dialect_of(path: str, headers: Mapping[str, str]) -> Dialect:
    """The dialect a request to `path` is answered in; on shared routes its headers tell.

    Anthropic's SDKs send `anthropic-version` with everything; OpenAI's send a Bearer token only.
    """
    if path.startswith("/v1/messages"):
        return ANTHROPIC
    if path.startswith(("/v1/chat/", "/v1/embeddings", "/v1/completions", "/v1/responses")):
        return OPENAI
    if "anthropic-version" in headers or "x-api-key" in headers or "authorization" not in headers:
        return ANTHROPIC
    return OPENAI
