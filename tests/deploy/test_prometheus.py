"""The rules and the example of a job, by Prometheus' own checker."""

import os
import shutil
import subprocess

import pytest
import yaml

from tests.deploy.deployments import DEPLOY, HOME

PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")


@pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed")
def test_the_rules_page_when_they_should_and_not_before(tmp_path):
    for file in [*(DEPLOY / "prometheus").glob("*.yaml"), HOME / "tests" / "deploy" / "alerts_test.yaml"]:
        shutil.copy(file, tmp_path)
    (tmp_path / "metrics_token").write_text("x")

    for command in (
        ["check", "config", "prometheus.yaml"],
        ["test", "rules", "alerts_test.yaml"],
    ):
        done = subprocess.run(
            [str(PROMTOOL), *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_not_scraped_is_an_alert_of_its_own():
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"]
    rules = {rule["alert"]: rule for group in groups for rule in group["rules"]}
    [job] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())["scrape_configs"]

    assert f'absent(up{{job="{job["job_name"]}"}} == 1)' in rules["TenantryNotScraped"]["expr"]
    assert rules["TenantryNotScraped"]["labels"]["severity"] == "page"
