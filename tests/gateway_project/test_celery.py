"""The Celery application: what its signals write down."""

import pytest

from gateway_project.celery import app
from gateway_project.ground import task_board
from gateway_project.metrics import _meter
from tests.billing.test_tasks import values_of

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_task_that_fails_is_seen_until_it_succeeds_again(redis_server, monkeypatch):
    task = app.tasks["billing.tasks.close_periods"]
    monkeypatch.setattr("billing.tasks.close_due", lambda: 1 / 0)

    task.apply()

    assert task_board.failing_tasks() == {"close_periods": "ZeroDivisionError: division by zero"}
    assert values_of(_meter(), "tenantry_failing_tasks") == [({"task": "close_periods"}, 1)]

    monkeypatch.setattr("billing.tasks.close_due", lambda: 0)
    task.apply()

    assert task_board.failing_tasks() == {}
