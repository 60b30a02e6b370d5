"""The Celery application. Tasks are found in each app's `tasks.py`."""

import os
import sys
from typing import Any

from celery import Celery
from celery.signals import task_failure, task_success, worker_ready, worker_shutdown

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
app = Celery("tenantry")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect
def _say_that_it_works(sender: Any, **of_the_signal: Any) -> None:
    """Beat the worker's presence on its own loop's timer, once it takes tasks."""
    from gateway_project.ground.presence import EVERY_SECONDS, Presence

    presence = Presence("worker")
    presence.beat()
    sender.timer.call_repeatedly(EVERY_SECONDS, presence.beat)
    worker_shutdown.connect(lambda **_: presence.leave(), weak=False)


@task_failure.connect
def _failed(sender: Any, exception: BaseException, **_: Any) -> None:
    from gateway_project.ground import task_board  # imported late: it needs settings

    task_board.failed(sender.name, exception)


@task_success.connect
def _succeeded(sender: Any, **_: Any) -> None:
    from gateway_project.ground import task_board

    task_board.succeeded(sender.name)


if "celery" in sys.argv[0]:
    # Only in `celery worker` and `celery beat`: other processes just send tasks.
    from gateway_project import celery_logs as celery_logs
