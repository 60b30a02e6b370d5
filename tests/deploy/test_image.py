"""The image's steps without a container engine: the Dockerfile's own lines, in a bare folder, as its own user."""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.deploy.context import context
from tests.deploy.deployments import DEPLOY, HOME, image
from tests.folders import throwaway_folder
from tests.sandbox import free_port, wait_for_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.stack,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the image's user"),
]


def a_python_for_everybody() -> str:
    """One that the image's user may run too: root's own may be in a closed home."""
    for found in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        path = Path(found).resolve()
        reachable = path.exists() and all(each.stat().st_mode & stat.S_IXOTH for each in path.parents)
        if reachable and not subprocess.run([path, "-c", "import ensurepip"], check=False).returncode:
            return str(path)
    pytest.skip("no Python that another user may run")


class Image:
    """A folder in place of the image's /: every absolute path of the Dockerfile is below it."""

    def __init__(self, root: Path, python: str) -> None:
        self.root = root
        self.environment: dict[str, str] = {}
        self.base = {"PATH": f"{root}/bin:/usr/bin:/bin"}
        (root / "bin").mkdir()
        (root / "bin" / "python").symlink_to(python)
        self.place = root
        self.user: int | None = None

    def build(self) -> None:
        for instruction, text in _instructions():
            getattr(self, f"_{instruction.lower()}", lambda text: None)(text)

    def below(self, text: str) -> str:
        """`text` with the image's own folders below the root."""
        return re.sub(r"(?<![\w./])/(opt|app|tmp)\b", rf"{self.root}/\1", text)

    def command(self, *arguments: str) -> list[str]:
        return [shutil.which(arguments[0], path=self._path()) or arguments[0], *arguments[1:]]

    def _path(self) -> str:
        return self.environment.get("PATH", self.base["PATH"])

    def _from(self, _: str) -> None:
        self.environment = dict(self.base)

    def _env(self, text: str) -> None:
        for pair in shlex.split(self.below(text)):
            name, value = pair.split("=", 1)
            self.environment[name] = value.replace("$PATH", self._path())

    def _workdir(self, text: str) -> None:
        self.place = Path(self.below(text))
        self.place.mkdir(parents=True)

    def _copy(self, text: str) -> None:
        if "--from" in text:
            return  # it is there already: both stages share one root
        source, target = text.split()
        if source == ".":
            for name in context(HOME):
                file = self.place / name
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(HOME / name, file)
        else:
            assert source in context(HOME)
            (self.root / "tmp").mkdir(exist_ok=True)
            shutil.copyfile(HOME / source, self.below(target))

    def _run(self, text: str) -> None:
        if text.startswith("useradd"):
            return
        done = subprocess.run(
            ["sh", "-c", self.below(text)],
            cwd=self.place,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"

    def _user(self, text: str) -> None:
        self.user = int(text)


def _instructions() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(None, 1)) for line in lines]  # type: ignore[misc]  # always two


@pytest.fixture(scope="module")
def built() -> Iterator[Image]:
    root = throwaway_folder("tenantry-image-")
    root.chmod(0o755)  # as / is
    made = Image(root, a_python_for_everybody())
    try:
        made.build()
        yield made
    finally:
        shutil.rmtree(root, ignore_errors=True)


def test_the_image_runs_as_its_own_user_who_may_write_nothing_of_it(built):
    """It serves from the files of the build alone; no store is there."""
    command, _ = image()
    port = free_port()
    given = {
        "SECRET_KEY": "k9-Xw7_" * 8,
        "DATABASE_URL": "postgresql://127.0.0.1:9/none",
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "PORT": str(port),
        "HOST": "127.0.0.1",
    }
    process = subprocess.Popen(
        built.command(*command),
        cwd=built.place,
        env=built.environment | given,
        user=built.user,
        group=built.user,
        extra_groups=[],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for_port(port, 60)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            alive = client.get("/healthz", headers={"host": "10.1.2.3"})
            style = client.get("/static/console/console.css")
            icons = client.get("/static/unfold/css/styles.css", headers={"accept-encoding": "gzip"})
            unmetered = client.get("/v1/models", headers={"x-api-key": "tn_none"})
    finally:
        process.terminate()
        written = process.communicate(timeout=60)[0]

    assert built.user == 10001
    assert alive.status_code == 200
    assert style.status_code == 200
    assert (icons.status_code, icons.headers["content-encoding"]) == (200, "gzip")  # as collectstatic left it
    assert unmetered.status_code == 503
    assert "Traceback" not in written, written


def test_every_process_of_the_product_is_in_the_image(built):
    for command in (["celery", "--version"], ["python", "manage.py", "ledger", "--help"]):
        done = subprocess.run(
            built.command(*command),
            cwd=built.place,
            env=built.environment | {"SECRET_KEY": "k9-Xw7_" * 8},
            user=built.user,
            group=built.user,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_nothing_of_a_developers_folder_is_in_the_image(built):
    names = {each.name for each in built.place.iterdir()}

    assert names == {"manage.py", "LICENSE", "static", "requirements", "templates"} | {
        "billing",
        "gateway_project",
        "proxy",
        "routing",
        "tenants",
    }
