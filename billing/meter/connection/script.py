"""Commands and Lua scripts as they go over the wire, packed once where many calls share a part."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import hiredis

LUA = Path(__file__).resolve().parent.parent / "lua"
Argument = str | int | float | bytes | memoryview
Keys = TypeVar("Keys", bound=Sequence[Argument])
Arguments = TypeVar("Arguments", bound=Sequence[Argument])


def pack(command: tuple[Argument, ...]) -> bytes:
    """A command as it goes over the wire."""
    return hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub allows tuples of one member only


def bulk(*arguments: Argument) -> bytes:
    """Arguments packed as a part of a command, so that what many commands share is packed once."""
    packed = pack(arguments)
    return packed[packed.index(b"\n") + 1 :]


class Script(Generic[Keys, Arguments]):
    """A file of `lua/`, known to Redis by its SHA-1. `billing/meter/scripts.py` has them all."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = (LUA / f"{name}.lua").read_bytes()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()
        self.by_sha = bulk("EVALSHA", self.sha)
        self.by_source = bulk("EVAL", self.source)

    def call(self, keys: Keys, arguments: Arguments) -> "ScriptCall":
        return ScriptCall(self, keys[0], bulk(len(keys), *keys, *arguments), 1 + len(keys) + len(arguments))


class ScriptCall:
    """A script with its keys and arguments, packed in `body`.

    `count` is the number of packed values: keys, arguments, and the number of keys. `key` is any of the keys, which are
    all in one slot.
    """

    __slots__ = ("_body", "_count", "key", "script")

    def __init__(self, script: Script[Any, Any], key: Argument, body: bytes, count: int) -> None:
        self.script = script
        self.key = key
        self._body = body
        self._count = count + 2

    def packed(self) -> bytes:
        return b"*%d\r\n%b%b" % (self._count, self.script.by_sha, self._body)

    def with_source(self) -> bytes:
        """The call for a server that does not know the script yet; it does afterwards."""
        return b"*%d\r\n%b%b" % (self._count, self.script.by_source, self._body)
