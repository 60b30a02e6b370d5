"""Each deployment file read as what it is: processes with a command and an environment, which a test can run here."""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import msgspec
import yaml

HOME = Path(__file__).resolve().parents[2]
DEPLOY = HOME / "deploy"
COMPOSE: Any = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
MANIFESTS: list[Any] = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "tenantry.yaml").read_text()))
PROCFILE = dict(line.split(": ", 1) for line in (HOME / "Procfile").read_text().splitlines())
UNITS = DEPLOY / "systemd"
NAMES = ("web", "ledger", "worker", "beat")


class Process(msgspec.Struct, frozen=True):
    """One, by name; `environment` is all that the deployment gives it."""

    name: str
    command: list[str]
    environment: dict[str, str]


def image() -> tuple[list[str], dict[str, str]]:
    """What the image runs, and the environment it brings."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    [command] = re.findall(r"^CMD (.+)$", text, re.MULTILINE)
    brought = re.findall(r"^ENV (.+)$", text, re.MULTILINE)[-1]
    environment = dict(pair.split("=", 1) for pair in shlex.split(brought))
    environment.pop("PATH")
    return msgspec.json.decode(command), environment


def interpolated(text: str, outside: dict[str, str]) -> str:
    """Compose's `${NAME}`, `${NAME:-default}` and `${NAME:?message}`."""

    def value(match: "re.Match[str]") -> str:
        name, kind, rest = match.groups()
        if outside.get(name):
            return outside[name]
        if kind == ":?":
            raise KeyError(rest)
        return rest or ""

    return re.sub(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, text)


def compose(outside: dict[str, str]) -> list[Process]:
    """compose.yaml's own services, migrate first, with `outside` as the environment or deploy/.env."""
    command, brought = image()
    processes = []
    for name in ("migrate", *NAMES):
        service = COMPOSE["services"][name]
        given = {
            key: outside.get(key) if value is None else interpolated(value, outside)
            for key, value in service["environment"].items()
        }
        environment = brought | {key: value for key, value in given.items() if value is not None}
        processes.append(Process(name, service.get("command", command), environment))
    return processes


def kubernetes(secret: dict[str, str]) -> list[Process]:
    """The manifest's pods, the job first, with `secret` as the Secret."""
    command, brought = image()
    [settings] = [each["data"] for each in MANIFESTS if each["kind"] == "ConfigMap"]
    processes = []
    for pod in pods():
        [container] = pod["spec"]["template"]["spec"]["containers"]
        assert container["envFrom"] == [
            {"configMapRef": {"name": "tenantry"}},
            {"secretRef": {"name": "tenantry"}},
        ]
        processes.append(
            Process(container["name"], container.get("command", command), brought | settings | secret)
        )
    return processes


def pods() -> list[Any]:
    """Jobs and deployments."""
    return [each for each in MANIFESTS if each["kind"] in ("Deployment", "Job")]


def unit(name: str, section: str, key: str) -> list[str]:
    """A key's values in a unit file."""
    text = (UNITS / name).read_text()
    body = re.split(r"^\[(\w+)\]\n", text, flags=re.MULTILINE)
    found = dict(zip(body[1::2], body[2::2], strict=True)).get(section, "")
    return re.findall(rf"^{key}=(.*)$", found, re.MULTILINE)


def systemd(file: dict[str, str]) -> list[Process]:
    """The units' commands, with `file` as /etc/tenantry.env; migrating is done by hand there."""
    processes = [Process("migrate", ["python", "manage.py", "migrate", "--noinput"], file)]
    for name in NAMES:
        of = "tenantry-web.service" if name == "web" else "tenantry@.service"
        [command] = unit(of, "Service", "ExecStart")
        own = dict(pair.split("=", 1) for line in unit(of, "Service", "Environment") for pair in line.split())
        command = command.replace("/opt/tenantry", str(HOME)).replace("%i", name)
        processes.append(Process(name, shlex.split(command), own | file))
    return processes


def path() -> str:
    """As in the image: the environment's programs first."""
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"
