"""The Celery application: how it is found, and what its signals write down."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from billing.tasks import close_periods
from gateway_project.ground import task_board
from gateway_project.metrics import _meter
from tests.billing.test_tasks import values_of

HOME = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.django_db(transaction=True)


def test_a_task_that_fails_is_seen_until_it_succeeds_again(redis_server, monkeypatch):
    monkeypatch.setattr("billing.tasks.close_due", lambda: 1 / 0)

    close_periods.apply()

    assert task_board.failing_tasks() == {"close_periods": "ZeroDivisionError: division by zero"}
    assert values_of(_meter(), "tenantry_failing_tasks") == [({"task": "close_periods"}, 1)]

    monkeypatch.setattr("billing.tasks.close_due", lambda: 0)
    close_periods.apply()

    assert task_board.failing_tasks() == {}


@pytest.mark.parametrize("loader", ["", "gateway_project.server.celery_loader:BareLoader"])
@pytest.mark.parametrize("command", ["worker", "beat"])
def test_celery_finds_its_application(command, loader):
    """As `make up` starts it: Celery hides an import that fails, and says that there is no application."""
    environment = {**os.environ, "DEBUG": "1", **({"CELERY_LOADER": loader} if loader else {})}

    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "celery", "-A", "gateway_project", command, "--help"],
        cwd=HOME,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (found.returncode, found.stderr) == (0, "")
