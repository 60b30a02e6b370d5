"""A row that fails does not stop the others, and is not kept quiet."""

import pytest
from django.db import OperationalError
from psycopg import errors

from gateway_project.ground.one_by_one import SomeFailed, each_of, one_by_one

BROKEN = ValueError("broken")


def failing_on(*bad, error=BROKEN):
    def work(item):
        if item in bad:
            raise error
        done.append(item)
        return 1

    done: list[str] = []
    return work, done


def test_the_others_are_done_and_the_round_fails_by_name(caplog):
    work, done = failing_on("b")

    with pytest.raises(SomeFailed, match="closing: 1 of 3 failed: b"):
        one_by_one(["a", "b", "c"], work, what="closing")

    assert done == ["a", "c"]
    assert "closing: b failed: ValueError('broken')" in caplog.text


def test_what_all_return_is_summed():
    assert one_by_one([1, 2, 3], lambda number: number, what="adding") == 6


def test_a_fault_that_all_share_has_one_traceback_and_a_short_name(caplog):
    names = [f"tenant-{number}" for number in range(7)]
    work, _ = failing_on(*names)

    with pytest.raises(SomeFailed, match="tenant-4 and 2 more"):
        one_by_one(names, work, what="closing")

    assert caplog.text.count("Traceback") == 1
    assert caplog.text.count("failed: ValueError") == 7


def from_the_database(cause):
    error = OperationalError(str(cause))
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "cause", [errors.OperationalError("connection refused"), errors.AdminShutdown(), errors.DiskFull()]
)
def test_a_database_that_is_away_ends_the_round(cause):
    work, done = failing_on("a", error=from_the_database(cause))

    with pytest.raises(OperationalError):
        one_by_one(["a", "b"], work, what="closing")

    assert done == []


@pytest.mark.parametrize(
    "cause", [errors.LockNotAvailable(), errors.QueryCanceled(), errors.DeadlockDetected()]
)
def test_a_row_that_is_locked_concerns_itself_alone(cause):
    work, done = failing_on("a", error=from_the_database(cause))

    with pytest.raises(SomeFailed):
        one_by_one(["a", "b"], work, what="closing")

    assert done == ["b"]


def test_a_step_that_fails_does_not_stop_the_next():
    done: list[str] = []

    def fails():
        raise ValueError("first")

    def works():
        done.append("second")
        return 1

    with pytest.raises(ValueError, match="first"):
        each_of(fails, works)

    assert done == ["second"]
