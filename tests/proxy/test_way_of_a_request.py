"""The walk of a request in docs/architecture.md, held against a real one."""

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.proxy.conftest import upstream_answering, world  # noqa: F401 - fixtures
from tests.proxy.gateway import caller, finished
from tests.proxy.scripted_upstream import END, START, STOP, message, raw, stream

HOME = Path(__file__).resolve().parents[2]
STEPS = ("authenticate", "parse", "route", "admit", "forward", "settle", "answer")
_STEP = re.compile(r"^\d (\w+) .* ([\w/]+\.py):(\w+)$", re.MULTILINE)


def the_way():
    """Step, file and function, as the page has them."""
    page = (HOME / "docs" / "architecture.md").read_text()
    return _STEP.findall(page[page.index("## The way of a request") :])


async def functions_called(request):
    """File and name of the project's functions, in the order in which they were entered first."""
    entered: dict[tuple[str, str], None] = {}

    def seen(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(f"{HOME}/"):
            entered.setdefault((frame.f_code.co_filename.removeprefix(f"{HOME}/"), frame.f_code.co_name))

    sys.setprofile(seen)
    try:
        await request.call()
    finally:
        sys.setprofile(None)
    await finished()
    return list(entered)


def test_the_page_names_a_function_for_each_step_and_each_is_there():
    assert tuple(step for step, _, _ in the_way()) == STEPS
    for _, file, name in the_way():
        assert callable(getattr(import_module(file.removesuffix(".py").replace("/", ".")), name))


@pytest.mark.parametrize(("talk", "streams"), [(raw(message()), False), (stream(START, END, STOP), True)])
async def test_a_request_takes_the_steps_in_the_order_of_the_page(world, upstream_answering, talk, streams):  # noqa: F811
    way = [(file, name) for _, file, name in the_way()]
    async with upstream_answering(talk):
        called = await functions_called(caller(world.key, stream=streams))

    taken = [function for function in called if function in way]
    # The headers of a stream go before its cost is known.
    assert taken == ([*way[:5], way[6], way[5]] if streams else way)
