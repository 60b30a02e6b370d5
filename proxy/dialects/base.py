"""What a wire format must do for the pipeline, and what dialects share. Each dialect is a file beside this one."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, Protocol

import msgspec

from billing.usage import Usage
from gateway_project.ground.errors import TenantryError
from proxy.dialects.headers import RawHeaders
from proxy.errors import InvalidRequest
from routing.choice import Ask, CatalogueModel

LONGEST_NAME = 200
MOST_TAGS = 10
TAGS_HEADER = "x-tenantry-tags"
LONGEST_OPENING = 1000
_TAG = re.compile(r"[A-Za-z0-9_.:/-]{1,64}\Z")
_CODING_AGENT = re.compile(r"user_([0-9a-zA-Z]+)_account_([0-9a-fA-F-]*)_session_([0-9a-fA-F-]+)\Z")


class ParsedRequest(msgspec.Struct, frozen=True):
    """A request's body, as far as the pipeline needs it.

    `wants_usage`: the caller wants a stream's usage chunk. `caches`: it asks for prompt caching, whose writes cost
    more. `extra_hold_searches`: searches the upstream may make, to be held for. `prompts`: how many there are, each at
    most as long as the model's context. `embeds`: it asks for vectors, not text. `thinks_freely`: the model may think
    as much as it likes, which is billed in full and shown at most in summary.
    """

    ask: Ask
    wants_usage: bool
    caches: bool
    tags: dict[str, str]
    max_tokens_field: str = "max_tokens"
    extra_hold_searches: int = 0
    prompts: int = 1
    embeds: bool = False
    thinks_freely: bool = False


class UsageReading(msgspec.Struct, frozen=True):
    """The usage that an answer reports. `problem` says why it cannot be trusted; empty if it can.

    `model` is the name in the answer. `complete` is false for a stream that has not ended.
    """

    usage: Usage
    model: str = ""
    complete: bool = True
    problem: str = ""


class Limit(msgspec.Struct, frozen=True):
    """One limit as rate-limit headers report it. `reset` is when all of it is available again."""

    kind: Literal["requests", "tokens"]
    limit: int
    used: int
    reset: datetime

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)


class StreamMeter(Protocol):
    """Reads usage off a stream while its bytes pass.

    `feed` and `end` return the bytes to pass on. `output_so_far` estimates the output tokens for a charge,
    `output_at_most` bounds them for the hold.
    """

    finished: bool
    error_seen: bool
    first_token_seen: bool

    def feed(self, chunk: bytes) -> bytes: ...
    def end(self) -> bytes: ...
    def reading(self) -> UsageReading: ...
    @property
    def output_so_far(self) -> int: ...
    @property
    def output_at_most(self) -> int: ...


class Dialect(Protocol):
    """One wire format: parses and rewrites requests, reads usage, words errors and rate-limit headers."""

    name: str
    upstream_path: str
    request_id_headers: tuple[bytes, ...]

    def parse(self, body: bytes, headers: Mapping[str, str]) -> ParsedRequest: ...
    def rewrite(
        self, body: bytes, parsed: ParsedRequest, *, upstream_model: str, max_tokens: int
    ) -> bytes: ...
    def usage_of(self, body: bytes) -> UsageReading: ...
    def stream_meter(self, parsed: ParsedRequest) -> StreamMeter: ...
    def credentials(self, key: str) -> dict[str, str]: ...
    def render_error(
        self, error: TenantryError, request_id: str
    ) -> tuple[int, list[tuple[str, str]], bytes]: ...
    def error_event(self, error: TenantryError, request_id: str) -> bytes: ...
    def rate_limit_headers(self, limits: Sequence[Limit]) -> RawHeaders: ...
    def models_page(self, models: Sequence[CatalogueModel]) -> dict[str, Any]: ...
    def model_card(self, model: CatalogueModel) -> dict[str, Any]: ...


# What msgspec raises for bytes that are not JSON; for invalid UTF-8 within a string it is Python's own error.
UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


def decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """Decode `body` with `decoder`. Raises InvalidRequest, which names the field."""
    if not body:
        raise InvalidRequest("The request body is empty. Send a JSON object.")
    try:
        if not body.isascii():
            body.decode()  # the decoder checks only the strings it keeps
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at ")
        field = path.strip("`").removeprefix("$").lstrip(".")
        if not field and "missing required field" in reason:
            field = reason.rsplit("`", 2)[-2]
        raise InvalidRequest(f"{field + ': ' if field else ''}{reason}.", field=field) from None
    except UNREADABLE as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}.") from None


def person(user: str | None) -> tuple[str, str]:
    """The end user and the session in a client's user id.

    Coding agents pack their session into it. Taken as it is, every session would be an end user with its own budget.
    """
    text = (user or "")[:2000]
    if found := _CODING_AGENT.match(text):
        return (found.group(2) or found.group(1))[:LONGEST_NAME], found.group(3)[:LONGEST_NAME]
    if text.startswith("{"):
        try:
            packed = msgspec.json.decode(text)
        except msgspec.DecodeError:
            packed = None
        if isinstance(packed, dict):
            account = packed.get("account_uuid") or packed.get("user_id") or packed.get("device_id") or ""
            return str(account)[:LONGEST_NAME], str(packed.get("session_id") or "")[:LONGEST_NAME]
    return text[:LONGEST_NAME], ""


def opening_of(system: str, first: str | list[Any] | None) -> str:
    """How a conversation began: enough of the system prompt and the first message to recognize its later turns."""
    if not isinstance(first, str):
        blocks = (block for block in first or () if isinstance(block, dict))
        first = next((block["text"] for block in blocks if isinstance(block.get("text"), str)), "")
    return f"{system[:LONGEST_OPENING]}\n{first[:LONGEST_OPENING]}"


def tags_of(header: str, metadata: Mapping[str, str] | None = None) -> dict[str, str]:
    """The tags of `x-tenantry-tags: feature=summarize,team=a`, which override `metadata`'s. Raises InvalidRequest."""
    if not header and not metadata:
        return {}
    in_header = _checked(_header_tags(header), TAGS_HEADER)
    tags = {**_checked(metadata or {}, "metadata"), **in_header}
    if len(tags) > MOST_TAGS:
        field = TAGS_HEADER if in_header else "metadata"
        raise InvalidRequest(
            f"{field}: at most {MOST_TAGS} tags are allowed, but there are {len(tags)}.", field=field
        )
    return tags


def _header_tags(header: str) -> dict[str, str]:
    tags: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise InvalidRequest(f"{TAGS_HEADER}: {pair[:64]!r} is not name=value.", field=TAGS_HEADER)
        if name in tags:
            raise InvalidRequest(f"{TAGS_HEADER}: {name[:64]!r} appears twice.", field=TAGS_HEADER)
        tags[name] = value
    return tags


def _checked(tags: Mapping[str, str], field: str) -> Mapping[str, str]:
    for name, value in tags.items():
        if not _TAG.match(name) or not _TAG.match(value):
            raise InvalidRequest(
                f"{field}: tag {name[:64]!r} is not valid. Names and values are 1 to 64 letters, digits or "
                "_ . : / -",
                field=field,
            )
    return tags


MOST_COUNTED = 100_000_000
# A token count as `count` accepts it, for msgspec.
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_COUNTED)] | None


def count(value: Any) -> int:
    """A token count from the upstream; 0 for `None`. Raises ValueError if it is not one."""
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_COUNTED:
        raise ValueError(f"{value!r} is not a token count")
    return value


def claimed(value: Any) -> int:
    """A token count that a stream has reported so far; 0 if it is not one, for which `reading()` has a problem."""
    try:
        return count(value)
    except ValueError:
        return 0


@lru_cache(maxsize=16)
def iso(moment: datetime) -> bytes:
    """`moment` in ISO 8601, UTC. Cached, since all answers of a second name the same two instants (5 µs each)."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


def error_body(error: TenantryError) -> dict[str, Any]:
    """The `error` object that all dialects share: type, message, our code, and details."""
    return {"type": error.type, "message": error.message, "code": error.code, **error.details}


ALWAYS_JSON = ("content-type", "application/json")
# Timeout, conflict, rate limit: the same request may succeed later.
_PASSING = {408, 409, 429}


def error_headers(error: TenantryError, request_id: str, names: Sequence[bytes]) -> list[tuple[str, str]]:
    """The response headers of `error`. `names` are those in which the dialect's clients look for the request id.

    A refusal that is final says `x-should-retry: false`. Otherwise a coding agent repeats even a 401 for minutes.
    """
    headers = error.headers
    if 400 <= error.status < 500 and error.status not in _PASSING:
        headers = {"x-should-retry": "false", **headers}
    return [ALWAYS_JSON, *((name.decode(), request_id) for name in names), *headers.items()]
