"""The locks: what is installed is what was looked at, from wherever a machine gets its packages."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

FOLDER = Path(__file__).parents[2] / "requirements"


def named(file: str) -> set[str]:
    """The packages that a list of wishes names, without those of lists it includes."""
    lines = (line.partition("#")[0].strip() for line in (FOLDER / file).read_text().splitlines())
    return {Requirement(line).name.lower() for line in lines if line and not line.startswith("-")}


def locked(file: str) -> dict[str, Requirement]:
    """Each requirement of a lock; its hashes stand in lines of their own."""
    text = (FOLDER / file).read_text().replace("\\\n", " ")
    found = [Requirement(line.partition("--hash")[0].strip()) for line in text.splitlines() if line.strip()]
    return {each.name.lower(): each for each in found}


@pytest.mark.parametrize("file", ["base.txt", "dev.txt"])
def test_a_lock_pins_every_package_by_hash_and_names_no_index(file):
    for line in (FOLDER / file).read_text().replace("\\\n", " ").splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==[^ ]+( ; .*?)?( +--hash=sha256:[0-9a-f]{64})+", line.rstrip()), line


@pytest.mark.parametrize(
    ("wishes", "lock"), [("base.in", "base.txt"), ("base.in", "dev.txt"), ("dev.in", "dev.txt")]
)
def test_every_wish_is_locked(wishes, lock):
    assert named(wishes) <= set(locked(lock))


def test_the_suite_runs_with_what_is_shipped():
    base, dev = locked("base.txt"), locked("dev.txt")

    assert {name: str(each) for name, each in base.items()} == {name: str(dev[name]) for name in base}


def test_what_kombu_imports_without_saying_so_is_shipped():
    assert "packaging" in named("base.in")
