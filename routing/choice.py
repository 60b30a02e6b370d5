"""The values that routing works with: the request, the catalogue's models, and why a model was chosen."""

from enum import StrEnum
from functools import lru_cache

import msgspec


class Complexity(StrEnum):
    SIMPLE = "simple"
    COMPLEX = "complex"


class CatalogueModel(msgspec.Struct, frozen=True):
    """A model of the catalogue as the hot path sees it. `context_window` and `max_output_tokens` are tokens."""

    id: int
    name: str
    upstream_name: str
    family: str
    context_window: int
    max_output_tokens: int
    downgrade_to: str | None
    fallback_to: str | None
    enabled: bool
    embeds: bool = False


class ComplexityRules(msgspec.Struct, frozen=True):
    """Thresholds above which a request is complex; keywords are lower case."""

    max_simple_bytes: int
    max_simple_messages: int
    max_simple_tools: int
    keywords: tuple[str, ...]


class Ask(msgspec.Struct, frozen=True):
    """What a request asks for, independent of its wire format.

    `input_bound_tokens` is the most that the prompt can count, `family_bounds` the same for families with their own
    bound. `min_output_tokens` is the least that `max_tokens` may be clamped to without making the request invalid: one
    more than the tokens that may be thought unseen.
    """

    model: str | None
    max_tokens: int
    min_output_tokens: int
    stream: bool
    input_bound_tokens: int
    text_bytes: int
    message_count: int
    tool_count: int
    system_text: str
    end_user: str = ""
    session: str = ""
    family_bounds: dict[str, int] = {}
    images: int = 0
    media_tokens: int = 0  # of images, documents and recordings, at most
    answers: int = 1  # how many answers of `max_tokens` each (the `n` of some formats)
    opening: str = ""  # system prompt and first message, as far as needed to recognize the conversation


class Chosen(StrEnum):
    """How the first candidate was chosen."""

    REQUESTED = "requested"
    DEFAULT = "default"
    AUTO_SIMPLE = "auto:simple"
    AUTO_COMPLEX = "auto:complex"

    @property
    def complexity(self) -> Complexity | None:
        """The complexity by which the model was chosen; `None` if it was named."""
        return _COMPLEXITY.get(self)


class Change(StrEnum):
    """What happened to the first choice: a cheaper model, fewer tokens, or a fallback model."""

    DOWNGRADED = "downgraded"
    CLAMPED = "clamped"
    FALLBACK = "fallback"


class Route(msgspec.Struct, frozen=True):
    """A choice and its changes. `text` joins them in order: `auto:simple+downgraded+clamped`."""

    chosen: Chosen
    changes: tuple[Change, ...]
    text: str

    def then(self, change: Change) -> "Route":
        """This route with one more change."""
        return route_of(self.chosen, *self.changes, change)


@lru_cache(maxsize=256)
def route_of(chosen: Chosen, *changes: Change) -> Route:
    """The route of a choice with its changes."""
    return Route(chosen, changes, "+".join((chosen, *changes)))


@lru_cache(maxsize=256)
def read_route(text: str) -> Route | None:
    """The route with this text; `None` if it is not a route."""
    chosen, *changes = text.split("+")
    try:
        return route_of(Chosen(chosen), *map(Change, changes))
    except ValueError:
        return None


_COMPLEXITY = {Chosen.AUTO_SIMPLE: Complexity.SIMPLE, Chosen.AUTO_COMPLEX: Complexity.COMPLEX}
AUTOMATICALLY = (Chosen.AUTO_SIMPLE, Chosen.AUTO_COMPLEX)
REQUESTED, DEFAULT = route_of(Chosen.REQUESTED), route_of(Chosen.DEFAULT)
AUTOMATIC = {complexity: route_of(chosen) for chosen, complexity in _COMPLEXITY.items()}


class Candidate(msgspec.Struct, frozen=True):
    """One rung of the ladder, and why it is there.

    From `skip_from_percent` of the budget on it is skipped, even if there is no cheaper rung because the caller
    declined those. `None`: never.
    """

    model: CatalogueModel
    route: Route
    skip_from_percent: int | None = None
