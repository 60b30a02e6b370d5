"""The shape of the house: what a newcomer relies on to find things, held for every file there is."""

import ast
import subprocess
from collections import Counter, defaultdict
from pathlib import Path

import grimp
import pytest

HOME = Path(__file__).resolve().parents[1]
APPS = ("gateway_project", "routing", "tenants", "billing", "proxy")
MOST_SIDE_BY_SIDE = 20
# A page tells an operator to write it.
WRITTEN_BY_OPERATORS = {"deploy/.env"}
# Django finds these by their name, so there is one in many places.
NAMED_BY_DJANGO = {"Command", "Migration"}
# Found by what they are for: a model's constraints in `test_models.py`, pages and commands at the door they belong to.
NOT_BY_NAME = {"admin", "models", "migrations", "management", "apps.py", "urls.py", "__init__.py"}
# Named by pages, and written by who installs it.
MADE_BY_OPERATORS = {"deploy/.env"}
# Modules whose test has another name, and where it is.
TESTED_ELSEWHERE = {
    # Read or run as whole processes: nothing of them can be called alone.
    "gateway_project/settings.py": "tests/security/test_settings.py",
    "gateway_project/formats/en/formats.py": "tests/browser/test_date_fields.py",
    "gateway_project/server/prepare.py": "tests/stack/test_first_five_minutes.py",
    "gateway_project/celery_logs.py": "tests/deploy/test_processes.py",
    "gateway_project/server/celery_loader.py": "tests/gateway_project/test_celery.py",
    "gateway_project/asgi.py": "tests/proxy/pipeline/test_serve.py",
    "proxy/sandbox/__main__.py": "tests/proxy/sandbox/test_app.py",
    # They only hold what the pipeline puts into them.
    "proxy/pipeline/admitted.py": "tests/proxy/pipeline/test_serve.py",
    "proxy/pipeline/call.py": "tests/proxy/pipeline/test_serve.py",
    # One line: the page sends it, the service has its own tests.
    "tenants/tasks.py": "tests/gateway_project/portal/test_passwords.py",
}


def sources() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *(f"{app}/*.py" for app in APPS)],
        cwd=HOME,
        capture_output=True,
        text=True,
        check=True,
    )
    return [Path(line) for line in listed.stdout.splitlines() if (HOME / line).exists()]


def test_no_folder_has_more_modules_than_one_looks_over():
    modules = Counter(path.parent for path in sources() if path.name != "__init__.py")

    crowded = {str(folder): count for folder, count in modules.items() if count > MOST_SIDE_BY_SIDE}
    crowded = {folder: count for folder, count in crowded.items() if not folder.endswith("migrations")}

    assert crowded == {}


def test_no_modules_import_each_other_in_a_circle():
    graph = grimp.build_graph(*APPS, exclude_type_checking_imports=True, cache_dir=None)

    circles = [
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if graph.chain_exists(importer=imported, imported=importer)
    ]

    assert circles == []


def test_no_two_classes_have_one_name():
    places = defaultdict(list)
    for path in sources():
        if "migrations" in path.parts:
            continue
        for node in ast.parse((HOME / path).read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name not in NAMED_BY_DJANGO:
                places[node.name].append(str(path))

    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_the_test_of_a_module_is_found_by_the_modules_name():
    by_name = [path for path in sources() if not NOT_BY_NAME & {*path.parts}]

    missing = {
        str(path) for path in by_name if not (HOME / "tests" / path.parent / f"test_{path.name}").exists()
    }

    assert missing == set(TESTED_ELSEWHERE)
    assert all((HOME / test).exists() for test in TESTED_ELSEWHERE.values())


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *sorted(p.name for p in (HOME / "docs").glob("*.md"))]
)
def test_a_page_names_files_that_are_there(page):
    """Paths in backticks that begin with one of our folders."""
    text = ((HOME if (HOME / page).exists() else HOME / "docs") / page).read_text()
    folders = (*APPS, "tests", "bench", "deploy", "docs", "templates")

    named = {
        word.partition(":")[0]
        for word in _backticked(text)
        if word.startswith(tuple(f"{f}/" for f in folders))
    }
    missing = {
        word
        for word in named - WRITTEN_BY_OPERATORS
        if not any(c in word for c in "*…<{ ") and not (HOME / word).exists()
    }

    assert missing <= MADE_BY_OPERATORS


def _backticked(text: str) -> list[str]:
    return text.split("`")[1::2]
