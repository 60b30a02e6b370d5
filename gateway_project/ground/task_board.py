"""Which periodic tasks fail: each stands here from its failure to its next success, for metrics and the console."""

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
    """Task -> why its last run failed."""
    return {task.decode(): error.decode() for task, error in store().hgetall(TASK_BOARD).items()}


def _short(task: str) -> str:
    return task.rpartition(".")[2]


def _write(write: Callable[[], Any]) -> None:
    """The board tells of tasks; it must not be what makes one fail."""
    try:
        write()
    except STORE_ERRORS as error:
        logger.warning("the board of failing tasks was not written: %s", error)
