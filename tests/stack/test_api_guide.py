"""Whatever can be typed in docs/api.md works, and prints what the page says it prints."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.stack.conftest import HOME, Stack

pytestmark = pytest.mark.stack
GUIDE = (HOME / "docs" / "api.md").read_text()
SNIPPETS = re.findall(r"^```(sh|python|js)\n(.*?)^```$", GUIDE, re.M | re.S)
# Where node finds the packages of its snippets: `npm install` in tests/clients.
NODE_HOME = HOME / "tests" / "clients"


def commands(language, text, stack, folder):
    key = stack.keys["acme-corp"]
    text = text.replace("http://127.0.0.1:8000", stack.url).replace("tn_…", key)
    if language == "python":
        return [sys.executable, "-c", text]
    if language == "sh":
        return ["bash", "-euo", "pipefail", "-c", text]
    if not (shutil.which("node") and (NODE_HOME / "node_modules").exists()):
        pytest.skip("node, or the packages of tests/clients, are not installed")
    return ["node", "--input-type=module", "-e", text]


@pytest.mark.parametrize(
    ("language", "text"),
    SNIPPETS,
    ids=[f"{number}-{language}" for number, (language, _) in enumerate(SNIPPETS)],
)
def test_a_snippet_does_what_the_guide_says(stack: Stack, language, text, tmp_path):
    given = {"TENANTRY_URL": stack.url, "TENANTRY_KEY": stack.keys["acme-corp"]}

    done = subprocess.run(
        commands(language, text, stack, tmp_path),
        cwd=NODE_HOME if language == "js" else tmp_path,
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    printed = done.stdout
    for expected in re.findall(r"^(?:#|//) → (.+)$", text, re.M):
        assert expected in printed, f"{expected!r} is missing in {printed}"
        printed = printed[printed.index(expected) :]  # in this order


def test_every_error_code_is_in_the_guides_table():
    told = set(re.findall(r"`([a-z_]+)`", GUIDE.split("## Errors")[1].split("### Who")[0]))

    raised = set()
    for room in ("proxy", "tenants", "billing", "routing"):
        for file in (HOME / room).glob("*.py"):
            raised |= set(re.findall(r'^    code = "([a-z_]+)"$', file.read_text(), re.M))

    assert raised - told <= {"already_booked"}  # the control plane's
