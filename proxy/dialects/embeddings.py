"""OpenAI's Embeddings format: one prompt or many, and no output tokens."""

from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.dialects import json_edit, prompt_bound
from proxy.dialects.base import TAGS_HEADER, ParsedRequest, decode, person, tags_of
from proxy.dialects.openai import OpenAI
from proxy.errors import InvalidRequest
from routing.candidates import AUTO
from routing.choice import Ask

MOST_INPUTS = 2048


class _EmbeddingsBody(msgspec.Struct):
    input: str | list[Any]
    model: str
    user: str | None = None


_decoder = msgspec.json.Decoder(_EmbeddingsBody)


class Embeddings(OpenAI):
    """`/v1/embeddings`. Errors, credentials and usage are OpenAI's; nothing is clamped or downgraded."""

    upstream_path = "/v1/embeddings"

    def parse(self, body: bytes, headers: Mapping[str, str]) -> ParsedRequest:
        """Raises InvalidRequest, naming the field."""
        json_edit.refuse_ambiguity(body)
        read = decode(_decoder, body)
        if not read.input:
            raise InvalidRequest("input: must be a string or a list of strings.", field="input")
        if read.model in ("", AUTO):
            raise InvalidRequest(
                "model: required. Embeddings of different models cannot be compared.", field="model"
            )
        prompts = _prompts(read.input)
        if prompts > MOST_INPUTS:
            raise InvalidRequest(
                f"input: at most {MOST_INPUTS} strings are allowed, but there are {prompts}.", field="input"
            )
        end_user, session = person(read.user)
        ask = Ask(
            model=read.model,
            max_tokens=0,
            min_output_tokens=1,
            stream=False,
            input_bound_tokens=prompt_bound.text_bound(body),
            text_bytes=len(body),
            message_count=prompts,
            tool_count=0,
            system_text="",
            end_user=end_user,
            session=session,
        )
        return ParsedRequest(
            ask=ask,
            wants_usage=True,
            caches=False,
            tags=tags_of(headers.get(TAGS_HEADER, "")),
            prompts=prompts,
            embeds=True,
        )

    def rewrite(self, body: bytes, parsed: ParsedRequest, *, upstream_model: str, max_tokens: int) -> bytes:
        return body if parsed.ask.model == upstream_model else json_edit.put(body, "model", upstream_model)


def _prompts(texts: str | list[Any]) -> int:
    """How many prompts `texts` holds: it is one text, one list of tokens, or a list of either."""
    return 1 if isinstance(texts, str) or isinstance(texts[0], int) else len(texts)
