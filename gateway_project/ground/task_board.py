"""The board of failing periodic tasks: each is listed from a failure to its next success, for metrics and console."""

import logging
from collections.abc import Callable
from typing import Any

from gateway_project.ground.redis_address import STORE_ERRORS
from gateway_project.ground.redis_client import store
from gateway_project.ground.redis_keys import TASK_BOARD as TASK_BOARD

logger = logging.getLogger(__name__)
_LONGEST = 300


def failed(task: str, error: BaseException) -> None:
    _write(lambda: store().hset(TASK_BOARD, _short(task), f"{type(error).__name__}: {error}"[:_LONGEST]))


def succeeded(task: str) -> None:
    _write(lambda: store().hdel(TASK_BOARD, _short(task)))


def failing_tasks() -> dict[str, str]:
    """Each failing task's short name, and why its last run failed. Raises Redis' errors."""
    return {task.decode(): error.decode() for task, error in store().hgetall(TASK_BOARD).items()}


def _short(task: str) -> str:
    return task.rpartition(".")[2]


def _write(write: Callable[[], Any]) -> None:
    """Write to the board; while Redis is away, log that instead, so that the board never makes a task fail."""
    try:
        write()
    except STORE_ERRORS as error:
        logger.warning("the board of failing tasks was not written: %s", error)
