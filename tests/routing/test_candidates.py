"""Which model serves: asked for, by default, by complexity; and what it may be downgraded to."""

import msgspec
import pytest

from routing.candidates import ModelNotAllowed, candidates_for
from routing.choice import Ask, CatalogueModel, Complexity, ComplexityRules

RULES = ComplexityRules(
    max_simple_bytes=4000, max_simple_messages=10, max_simple_tools=2, keywords=("analyze",)
)
ASK = Ask(
    model=None,
    max_tokens=100,
    min_output_tokens=1,
    stream=False,
    input_bound_tokens=10,
    text_bytes=10,
    message_count=1,
    tool_count=0,
    system_text="",
)


def a_model(name, downgrade_to=None):
    return CatalogueModel(1, name, name, "claude", 200_000, 8192, downgrade_to, None, True)


SONNET, OPUS = a_model("sonnet"), a_model("opus", "sonnet")
ROUTES = {Complexity.SIMPLE: "sonnet", Complexity.COMPLEX: "opus"}


def ladder(ask, *models, default=None, routes=ROUTES, **options):
    found = candidates_for(
        ask,
        models={model.name: model for model in models},
        routes=routes,
        rules=RULES,
        default_model=default,
        downgrade_percent=90,
        **options,
    )
    return [(each.model.name, each.route.text, each.skip_from_percent) for each in found]


def asking(**values):
    return msgspec.structs.replace(ASK, **values)


def test_the_model_asked_for_is_served_and_may_be_downgraded():
    assert ladder(asking(model="opus"), SONNET, OPUS) == [
        ("opus", "requested", 90),
        ("sonnet", "requested+downgraded", None),
    ]


def test_without_a_model_the_default_serves():
    assert ladder(ASK, SONNET, OPUS, default="sonnet") == [("sonnet", "default", None)]


def test_auto_follows_complexity_even_where_there_is_a_default():
    ask = asking(model="auto", text_bytes=9999)
    assert ladder(ask, SONNET, OPUS, default="sonnet")[0] == ("opus", "auto:complex", 90)


def test_without_model_and_default_complexity_chooses():
    assert ladder(ASK, SONNET, OPUS) == [("sonnet", "auto:simple", None)]


def test_a_downgrade_never_goes_to_a_model_the_tenant_may_not_use():
    assert ladder(asking(model="opus"), OPUS) == [("opus", "requested", None)]


def test_a_model_without_a_cheaper_one_is_never_passed_over():
    assert ladder(asking(model="sonnet"), SONNET) == [("sonnet", "requested", None)]


def test_a_circle_of_downgrades_ends():
    first, second = a_model("first", "second"), a_model("second", "first")
    assert [name for name, *_ in ladder(asking(model="first"), first, second)] == ["first", "second"]


def test_what_is_not_allowed_names_what_is():
    with pytest.raises(ModelNotAllowed) as refusal:
        ladder(asking(model="gpt-4o"), SONNET, OPUS)
    assert refusal.value.details == {"allowed": ["opus", "sonnet"]}
