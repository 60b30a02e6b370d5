"""The wire formats, and which of them a caller speaks. A further one is a file beside these and a line here."""

from collections.abc import Mapping

from proxy.dialects.anthropic import Anthropic
from proxy.dialects.base import Dialect
from proxy.dialects.embeddings import Embeddings
from proxy.dialects.openai import OpenAI

ANTHROPIC = Anthropic()
OPENAI = OpenAI()
DIALECTS: tuple[Dialect, ...] = (ANTHROPIC, OPENAI, Embeddings())
_BY_PATH = {dialect.upstream_path: dialect for dialect in DIALECTS}


def dialect_of(path: str, headers: Mapping[str, str]) -> Dialect:
    """The dialect a request to `path` is answered in; elsewhere, path and headers tell.

    Anthropic's SDKs send `anthropic-version` with everything; OpenAI's send a Bearer token only.
    """
    if (own := _BY_PATH.get(path)) is not None:
        return own
    if path.startswith("/v1/messages"):
        return ANTHROPIC
    if path.startswith(("/v1/chat/", "/v1/completions", "/v1/responses", "/v1/embeddings")):
        return OPENAI
    if "anthropic-version" in headers or "x-api-key" in headers or "authorization" not in headers:
        return ANTHROPIC
    return OPENAI
