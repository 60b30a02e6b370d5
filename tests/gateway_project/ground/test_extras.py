"""What is optional says by name which extra it wants."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway_project.ground import extras

ROOT = Path(__file__).parents[3]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_the_extras_are_those_that_the_project_declares():
    assert set(extras.EXTRAS) == set(DECLARED)


@pytest.mark.parametrize("extra", extras.EXTRAS)
def test_an_extra_that_is_missing_is_named_with_the_command_that_brings_it(extra, monkeypatch):
    for module in extras.EXTRAS[extra]:
        monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(
        extras.MissingExtra, match=rf"This needs the extra '{extra}': .*pip install '.\[{extra}\]'"
    ):
        extras.require(extra, because="This")


def test_an_extra_whose_parent_package_is_missing_too_is_missing(monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "otel", ("no_such_package.sdk",))

    assert not extras.installed("otel")


@pytest.mark.parametrize(
    ("asks", "environment", "named"),
    [
        ("import billing.exports.parquet", {}, "Parquet needs the extra 'parquet'"),
        ("", {"SENTRY_DSN": "http://public@127.0.0.1/1"}, "SENTRY_DSN needs the extra 'sentry'"),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, "needs the extra 'otel'"),
    ],
)
def test_what_asks_for_a_missing_extra_ends_with_that_sentence(asks, environment, named):
    """In a process of its own, which cannot find any of them."""
    hidden = sorted(module for modules in extras.EXTRAS.values() for module in modules)
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({hidden!r})); import django; django.setup(); {asks}"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"DEBUG": "1", "DJANGO_SETTINGS_MODULE": "gateway_project.settings", **environment},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode != 0
    assert named in ended.stderr.splitlines()[-1]
