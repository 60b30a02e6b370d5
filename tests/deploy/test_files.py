"""What ships for running it elsewhere, held against the code as far as that goes without a cluster."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

HOME = Path(__file__).resolve().parents[2]
DEPLOY = HOME / "deploy"
MANIFESTS: list[Any] = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "tenantry.yaml").read_text()))
COMPOSE: Any = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PROCFILE = dict(line.split(": ", 1) for line in (HOME / "Procfile").read_text().splitlines())


def metric_names() -> set[str]:
    """Every series that `/metrics` can have."""
    rooms = [HOME / name for name in ("gateway_project", "proxy", "billing")]
    source = "".join(path.read_text() for room in rooms for path in room.glob("*.py"))
    names = set(re.findall(r'"(tenantry_[a-z0-9_]+)"', source))
    return names | {f"{name}{end}" for name in names for end in ("_total", "_bucket", "_sum", "_count")}


def test_rules_and_dashboard_name_only_metrics_there_are():
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
    board = json.loads((DEPLOY / "grafana" / "tenantry.json").read_text())
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    asked += [target["expr"] for panel in board["panels"] for target in panel["targets"]]

    used = {name for expression in asked for name in re.findall(r"tenantry_[a-z0-9_]+", expression)}

    assert len(asked) > 20
    assert used - metric_names() == set()


def pods() -> list[Any]:
    return [each for each in MANIFESTS if each["kind"] in ("Deployment", "Job")]


@pytest.mark.parametrize("pod", pods(), ids=lambda each: each["metadata"]["name"])
def test_a_pod_runs_without_rights_and_within_bounds(pod):
    for container in pod["spec"]["template"]["spec"]["containers"]:
        rights = container["securityContext"]
        assert rights["runAsNonRoot"]
        assert rights["readOnlyRootFilesystem"]
        assert not rights["allowPrivilegeEscalation"]
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert ":latest" not in container["image"]


def test_what_scales_and_what_is_protected_is_there():
    names = {each["metadata"]["name"] for each in pods()}
    scaled = [each["spec"]["scaleTargetRef"]["name"] for each in MANIFESTS if "Autoscaler" in each["kind"]]
    [web] = [each for each in pods() if each["metadata"]["name"] == "tenantry-web"]
    [container] = web["spec"]["template"]["spec"]["containers"]

    assert set(scaled) <= names
    assert any(each["kind"] == "PodDisruptionBudget" for each in MANIFESTS)
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert web["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 30


def commands() -> list[str]:
    found = [" ".join(each["command"]) for each in COMPOSE["services"].values() if "command" in each]
    for pod in pods():
        found += [
            " ".join(each["command"])
            for each in pod["spec"]["template"]["spec"]["containers"]
            if "command" in each
        ]
    return [each for each in found if "manage.py" in each or "celery" in each]


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_command_is_one_the_procfile_or_django_knows(command):
    if "celery" in command:
        kind = command.split("gateway_project ")[1].split()[0]
        assert f" {kind} " in PROCFILE[kind]
    else:
        name = command.split("manage.py ")[1].split()[0]
        assert name == "migrate" or (HOME / "billing" / "management" / "commands" / f"{name}.py").exists()


def test_the_variables_given_are_read_by_someone():
    given = set(COMPOSE["x-tenantry"]["environment"])
    given |= {name for each in MANIFESTS if each["kind"] == "ConfigMap" for name in each["data"]}
    source = "".join(path.read_text() for path in (HOME / "gateway_project").glob("*.py"))

    assert {name for name in given if f'"{name}"' not in source} == set()


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_nginx_takes_its_configuration(tmp_path):
    text = (DEPLOY / "nginx.conf").read_text().replace("server web:8000", "server 127.0.0.1:8000")
    file = tmp_path / "nginx.conf"
    file.write_text(text)

    done = subprocess.run(["nginx", "-t", "-c", str(file)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path):
    unit = (DEPLOY / "systemd" / "tenantry@.service").read_text()
    unit = unit.replace("User=tenantry", "User=root").replace("/opt/tenantry/deploy/systemd/run", "/bin/true")
    file = tmp_path / "tenantry@web.service"
    file.write_text(unit.replace("/etc/tenantry.env", "-/etc/tenantry.env"))

    done = subprocess.run(
        ["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False
    )

    assert "tenantry@web" not in done.stderr, done.stderr


def test_the_image_is_small_unprivileged_and_installs_by_hash():
    text = (DEPLOY / "Dockerfile").read_text()

    assert "--require-hashes" in text
    assert re.search(r"^USER \d+", text, re.MULTILINE)
    assert "-slim" in text
