"""Each Lua script, its header and its Python caller say the same: keys, arguments and replies, by name and in order."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from billing.meter import scripts
from billing.meter.connection.script import Script
from billing.meter.lease import LeaseState

LUA = Path(scripts.__file__).parent / "lua"
SCRIPTS = {each.name: each for each in vars(scripts).values() if isinstance(each, Script)}
# What follows the status in replies that are a list.
REPLIES: dict[str, Any] = {"admit": scripts.AdmitReply, "settle": scripts.SettleReply}


class Header(NamedTuple):
    keys: list[str]
    arguments: list[str]
    reply: str


def parsed(source: str) -> Header:
    """The sections of a script's header; of keys and arguments the names, which are numbered from 1."""
    sections: dict[str, str] = {}
    current = ""
    for line in source.splitlines():
        if not line.startswith("--"):
            break
        if begun := re.match(r"-- (KEYS|ARGV|Reply|Invariants:)\s", line):
            current = begun[1]
        sections[current] = f"{sections.get(current, '')} {line[8:]}"
    return Header(_names(sections["KEYS"]), _names(sections["ARGV"]), sections["Reply"])


def _names(section: str) -> list[str]:
    names: list[str] = []
    for number, name in re.findall(r"(?<!\S)(\d+) ([a-z_0-9]+)", section):
        if int(number) == len(names) + 1:
            names.append(name)
    return names


def body_of(source: str) -> str:
    return re.sub(r"--[^\n]*", "", source)


def unpacked(body: str, what: str) -> list[tuple[list[str], str]]:
    """The statements that name members of `KEYS` or `ARGV`: the names, and which of them."""
    found = re.findall(rf"local ([a-z_0-9,\s]+?)\s*=\s*unpack\({what}(?:, ([^()]+))?\)", body)
    return [(re.split(r",\s*", names), which) for names, which in found]


def fields(camel: str, kind: str) -> list[str]:
    return names_of(getattr(scripts, f"{camel}{kind}"))


def names_of(made: Any) -> list[str]:
    """The fields of a named tuple or a struct."""
    return list(made._fields if issubclass(made, tuple) else made.__struct_fields__)


@pytest.fixture(params=sorted(path.stem for path in LUA.glob("*.lua")))
def name(request):
    return request.param


@pytest.fixture
def source(name):
    return (LUA / f"{name}.lua").read_text()


@pytest.fixture
def camel(name):
    return name.title().replace("_", "")


def test_every_script_has_a_caller(name):
    assert name in SCRIPTS


def test_the_header_names_the_callers_keys(source, camel):
    assert parsed(source).keys == fields(camel, "Keys")


def test_the_header_names_the_callers_arguments(source, camel, name):
    parts = ("Policy", "Call", "Candidate") if name == "admit" else ("Arguments",)

    assert parsed(source).arguments == [field for part in parts for field in fields(camel, part)]


def test_the_script_names_all_its_keys_at_once(source):
    assert unpacked(body_of(source), "KEYS") == [(parsed(source).keys, "")]


def test_the_script_names_all_its_arguments(source, name):
    statements = unpacked(body_of(source), "ARGV")
    fixed = len(names_of(scripts.AdmitPolicy) + names_of(scripts.AdmitCall))

    if name != "admit":
        assert statements == [(parsed(source).arguments, "")]
        return
    (head, which), (candidate, _) = statements
    assert head + candidate == parsed(source).arguments
    assert which == f"1, {fixed}"
    assert f"BEFORE_CANDIDATES, OF_A_CANDIDATE = {fixed}, {len(candidate)}" in source


def test_keys_and_arguments_are_used_by_name_alone(source):
    body = body_of(source)

    assert re.findall(r"(?:KEYS|ARGV)\s*\[", body) == []
    assert len(re.findall(r"\bKEYS\b", body)) == 1


def test_the_keys_that_replies_name_have_the_headers_numbers():
    source = (LUA / "admit.lua").read_text()
    [(names, numbers)] = re.findall(r"local (SHARD[A-Z_, ]+) = ([\d, ]+)\n", source)
    keys = parsed(source).keys

    named = dict(zip(names.lower().split(", "), map(int, numbers.split(", ")), strict=True))
    assert named == {key.name.lower(): int(key) for key in scripts.AdmitKey}
    assert all(keys[number - 1] == key for key, number in named.items())


def test_the_header_has_every_status_the_script_replies(source):
    header, body = parsed(source), body_of(source)

    replied = set(re.findall(r"(?:return|reply =|cold = \{\},|tightest =) \{?'([A-Z]+)'", body))
    said = {status for status in re.findall(r"\b[A-Z]{2,}\b", header.reply) if status != "USD"}

    assert said == replied


def test_what_follows_an_ok_has_the_headers_names(source, name):
    header, body = parsed(source), body_of(source)
    replies = re.findall(r"\{'OK', ([^{}]+)\}", body)
    if not replies:
        pytest.skip("its reply is no list with a status")

    [names] = re.findall(r"OK ([a-z_ ]+)", header.reply)
    [values] = replies

    assert len(names.split()) == len(re.split(r",\s*", values))
    if name in REPLIES:
        assert names.split() == names_of(REPLIES[name])


def test_the_settle_script_knows_the_states_that_python_has():
    body = body_of((LUA / "settle.lua").read_text())

    states = set(re.findall(r"(?:ended|state) [=~]= '([a-z]+)'", body)) | set(
        re.findall(r"'(late)', '1'", body)
    )

    assert states == set(LeaseState) - {LeaseState.OPEN}


def test_the_tombstone_is_the_key_that_is_packed_for_each_call():
    assert scripts.SettleKeys._fields[-1] == "tombstone"


@pytest.mark.parametrize(
    ("told", "lie"),
    [
        ("3 hold  4 cost", "3 cost  4 hold"),
        ("11 state", "11 status"),
        ("9 tombstone", "9 grave"),
        ("| LATE", ""),
    ],
)
def test_a_header_that_lies_is_found_out(told, lie):
    true = (LUA / "settle.lua").read_text()
    lying = parsed(true.replace(told, lie, 1))

    assert told in true
    assert (
        lying.keys != fields("Settle", "Keys")
        or lying.arguments != fields("Settle", "Arguments")
        or "LATE" not in lying.reply
    )
