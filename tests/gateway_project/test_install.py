"""Installing says how far it is, and why it failed."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "requirements" / "install.py"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """The installer, on lock files in `tmp_path`; its log is there too."""
    spec = importlib.util.spec_from_file_location("install", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(module.sys, "prefix", str(tmp_path))
    monkeypatch.setattr(module, "_QUIET_SECONDS", 0)
    return module


def test_without_a_way_to_the_index_it_says_where_to_look(install, tmp_path, monkeypatch, capsys):
    nowhere = {
        "INDEX_URL": "http://127.0.0.1:1/simple",
        "RETRIES": "0",
        "FIND_LINKS": "",
        "CONFIG_FILE": "/dev/null",
    }
    for name, value in nowhere.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    (tmp_path / "base.txt").write_text(f"no-such-package-of-ours==1.0 --hash=sha256:{'0' * 64}\n")

    code = install.main("base")

    printed = capsys.readouterr()
    assert code == 1
    assert "Installing 1 packages" in printed.out
    assert "Is there a way to the package index from here?" in printed.err
    assert printed.err.count("\n") <= 3
    assert "no-such-package-of-ours" in (tmp_path / "install-base.log").read_text()


def test_a_line_that_pip_says_of_a_package_is_counted(install):
    said = "Collecting psycopg[binary,pool]==3.2.1 (from -r base.txt (line 4))"
    assert install._COLLECTING.match(said).groups() == ("psycopg", "3.2.1")
    assert install._COLLECTING.match("  Downloading psycopg.whl") is None


def test_a_full_disk_is_named(install):
    assert install._why("ERROR: Could not install: [Errno 28] No space left on device").endswith(
        "Make room and run it again."
    )
