"""Installing says how far it is, and why it failed."""

import importlib.util
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

import psutil
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
    assert "Check that this machine can reach the package index" in printed.err
    assert printed.err.count("\n") <= 3
    assert "no-such-package-of-ours" in (tmp_path / "install-base.log").read_text()


def environment_without_pip(folder: Path) -> Path:
    """As one is whose making was stopped half way."""
    venv.create(folder / ".venv", with_pip=False)
    return folder / ".venv" / "bin" / "python"


def lay_out(folder: Path, lock: str) -> Path:
    (folder / "requirements").mkdir()
    (folder / "requirements" / "base.txt").write_text(lock)
    return Path(shutil.copy(FILE, folder / "requirements"))


def test_an_environment_whose_making_was_stopped_is_finished(tmp_path):
    python, script = environment_without_pip(tmp_path), lay_out(tmp_path, "")

    done = subprocess.run([python, script, "base"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "Installed 0 packages" in done.stdout


def lay_out_a_pip_that_takes_its_time(folder: Path) -> tuple[Path, Path]:
    python, script = environment_without_pip(folder), lay_out(folder, "")
    slow = folder / ".venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (slow / "pip").mkdir()
    (slow / "pip" / "__init__.py").touch()
    (slow / "pip" / "__main__.py").write_text("print('here', flush=True)\nimport time\ntime.sleep(600)\n")
    return python, script


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_in_the_middle_it_ends_pip_and_says_one_line(tmp_path, number):
    python, script = lay_out_a_pip_that_takes_its_time(tmp_path)
    log = tmp_path / ".venv" / "install-base.log"
    process = subprocess.Popen(
        [python, script, "base"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (pips := psutil.Process(process.pid).children()) or not log.exists():
        assert process.poll() is None

    process.send_signal(number)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 128 + number
    assert out.splitlines()[-1] == "  Stopped. The next `make up` continues from here."
    assert err == ""
    assert not any(each.is_running() for each in pips)


# A signal in the instant in which pip has been started and nobody holds it yet.
STOPPED_AT_ONCE = """
import os, runpy, signal, subprocess, sys

class Popen(subprocess.Popen):
    def _execute_child(self, *arguments):
        super()._execute_child(*arguments)
        print(self.pid, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

subprocess.Popen = Popen
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_stopped_in_the_very_start_of_pip_it_ends_pip_too(tmp_path):
    python, script = lay_out_a_pip_that_takes_its_time(tmp_path)
    code = f"import sys; sys.argv = [{str(script)!r}, 'base']\n{STOPPED_AT_ONCE}"

    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")
    pip = next(int(line) for line in done.stdout.splitlines() if line.isdigit())
    assert not psutil.pid_exists(pip)


def test_a_line_that_pip_says_of_a_package_is_counted(install):
    said = "Collecting psycopg[binary,pool]==3.2.1 (from -r base.txt (line 4))"
    assert install._COLLECTING.match(said).groups() == ("psycopg", "3.2.1")
    assert install._COLLECTING.match("  Downloading psycopg.whl") is None


def test_a_full_disk_is_named(install):
    assert install._why("ERROR: Could not install: [Errno 28] No space left on device").endswith(
        "Free some space and run `make up` again."
    )
