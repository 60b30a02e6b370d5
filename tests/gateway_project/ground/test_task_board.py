"""The board of periodic tasks that fail."""

from gateway_project.ground import task_board
from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.task_board import failed, failing_tasks, succeeded


def test_a_task_stands_there_from_its_failure_to_its_next_success(redis_server):
    failed("billing.tasks.close_periods", ValueError("no such tenant"))
    assert failing_tasks() == {"close_periods": "ValueError: no such tenant"}

    succeeded("billing.tasks.close_periods")

    assert failing_tasks() == {}


def test_a_long_reason_is_cut(redis_server):
    failed("a.b", ValueError("x" * 10_000))

    assert len(failing_tasks()["b"]) == 300


def test_a_board_that_cannot_be_written_fails_no_task(monkeypatch):
    def away():
        raise STORE_ERRORS[0]("away")

    monkeypatch.setattr(task_board, "store", away)

    failed("a.b", ValueError("x"))
    succeeded("a.b")
