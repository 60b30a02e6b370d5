"""The wire formats, and which of them a caller speaks. To add one, add a file beside these and a line here."""

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
    """The dialect in which to answer a request to `path`: the path's own, else guessed from path and headers.

    Anthropic's SDKs send `anthropic-version` with every request; OpenAI's only send a bearer token.
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
