"""What ships for running it elsewhere, held against the code as far as that goes without a cluster."""

import json
import re
import subprocess

import pytest
import yaml

from tests.deploy.context import context
from tests.deploy.deployments import COMPOSE, DEPLOY, HOME, MANIFESTS, PROCFILE, pods


def metric_names() -> set[str]:
    """Every series that `/metrics` can have."""
    rooms = [HOME / name for name in ("gateway_project", "proxy", "billing")]
    source = "".join(path.read_text() for room in rooms for path in room.rglob("*.py"))
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


def test_each_alert_has_a_line_that_says_what_to_check_first():
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    lines = re.findall(r"^\| (`Tenantry.*?) \|", (HOME / "docs" / "operations.md").read_text(), re.MULTILINE)

    assert {name for line in lines for name in re.findall(r"`(\w+)`", line)} == alerts


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
        assert name == "migrate" or any(HOME.glob(f"*/management/commands/{name}.py"))


# Set by the product itself or by the image, or for a machine of one's own: no deployment passes them on.
OWN = {
    "BEGAN",
    "DATA_DIR",
    "DEBUG",
    "DEMO",
    "DJANGO_SETTINGS_MODULE",
    "HOST",
    "LISTEN_FD",
    "LISTEN_FDS",
    "LISTEN_PID",
    "PATH",
    "PORT",
    "READY_FD",
    "SANDBOX",
    "STATIC_FROM_APPS",
    "UP_RUN",
    "XDG_RUNTIME_DIR",
}


def variables() -> set[str]:
    """Every name that is read from the environment."""
    rooms = ("billing", "gateway_project", "proxy", "routing", "tenants")
    source = "".join(path.read_text() for room in rooms for path in (HOME / room).rglob("*.py"))
    kinds = "text|integer|number|flag|words|folder|origin|choice|pairs|web_address"
    reader = rf"(?:\b(?:{kinds})|environ\.get|environ\.setdefault)"
    read = rf"""{reader}\(\s*"([A-Z][A-Z_]+)"|environ\["([A-Z][A-Z_]+)"\]"""
    return {first or second for first, second in re.findall(read, source)}


def test_compose_passes_on_every_variable_there_is():
    passed = set(COMPOSE["x-tenantry"]["environment"])

    assert len(variables()) > 50
    assert variables() - OWN - passed == set()
    assert passed - variables() == set()


def test_the_variables_of_the_config_map_are_read_by_someone():
    [given] = [each["data"] for each in MANIFESTS if each["kind"] == "ConfigMap"]

    assert set(given) - variables() == set()
    assert all(isinstance(value, str) for value in given.values())
    assert {"FORWARDED_ALLOW_IPS", "SHUTDOWN_GRACE_SECONDS"} <= set(given)


def test_every_variable_is_documented():
    documented = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", (HOME / "docs" / "settings.md").read_text()))

    assert (
        variables() - documented - {"BEGAN", "DJANGO_SETTINGS_MODULE", "PATH", "UP_RUN", "XDG_RUNTIME_DIR"}
        == set()
    )


@pytest.mark.parametrize("deployment", ["compose", "kubernetes"])
def test_nothing_is_ended_while_its_calls_still_have_time(deployment):
    """What is cut gets 25 s to say so and to be settled; a pod is told 5 s late, when nobody calls it any more."""
    if deployment == "compose":
        given = COMPOSE["x-tenantry"]["environment"]["SHUTDOWN_GRACE_SECONDS"]
        [grace] = re.findall(r":-(\d+)\}", given)
        killed = COMPOSE["services"]["web"]["stop_grace_period"].removesuffix("s")
    else:
        [grace] = [
            each["data"]["SHUTDOWN_GRACE_SECONDS"] for each in MANIFESTS if each["kind"] == "ConfigMap"
        ]
        [web] = [each["spec"]["template"] for each in pods() if each["metadata"]["name"] == "tenantry-web"]
        killed = web["spec"]["terminationGracePeriodSeconds"]

    assert int(killed) >= int(grace) + 30


def test_a_pod_cannot_fill_its_nodes_disk():
    volumes = [volume for pod in pods() for volume in pod["spec"]["template"]["spec"]["volumes"]]

    assert volumes
    assert all(volume["emptyDir"]["sizeLimit"] for volume in volumes)


def test_compose_has_names_resolved_again():
    """Its command changes the lines it means to; what nginx makes of them is shown in test_nginx.py."""
    nginx = COMPOSE["services"]["nginx"]["command"][2]
    [script] = re.findall(r"sed '([^']+)'", nginx)

    done = subprocess.run(
        ["sed", script, str(DEPLOY / "nginx.conf")], capture_output=True, text=True, check=True
    )

    assert "server web:8000 resolve max_fails=1" in done.stdout
    assert re.search(r"^ +resolver 127.0.0.11 valid=", done.stdout, re.MULTILINE)


def test_the_image_gets_the_product_and_nothing_that_lies_beside_it(tmp_path):
    """Whoever tried `make up` first has keys, a database and an environment there."""
    secrets = [".data/secret_key", ".data/redis/appendonlydir/x", ".venv/bin/python", ".git/config"]
    secrets += ["deploy/.env", ".env", "proxy/.env", "tenantry.dump", "static/x.css", "tests/conftest.py"]
    secrets += ["deploy/nginx/privkey.pem", "node_modules/x.js", "billing/__pycache__/x.pyc", "new-folder/x"]
    product = ["manage.py", "gateway_project/asgi.py", "gateway_project/static/console/console.css"]
    product += [
        "billing/meter/lua/admit.lua",
        "templates/404.html",
        "requirements/base.txt",
        "proxy/door/urls.py",
    ]
    for name in secrets + product:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")

    assert context(tmp_path) == set(product)


def test_the_image_lacks_no_file_of_the_product():
    done = subprocess.run(["git", "ls-files"], cwd=HOME, capture_output=True, text=True, check=True)
    rooms = ("billing/", "gateway_project/", "proxy/", "routing/", "templates/", "tenants/", "manage.py")
    product = {name for name in done.stdout.splitlines() if name.startswith(rooms) and (HOME / name).exists()}

    assert len(product) > 200
    assert product - context(HOME) == set()


def test_the_image_is_small_unprivileged_and_installs_by_hash():
    text = (DEPLOY / "Dockerfile").read_text()

    assert "--require-hashes" in text
    assert re.search(r"^USER \d+", text, re.MULTILINE)
    assert "-slim" in text
