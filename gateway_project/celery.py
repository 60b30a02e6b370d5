"""The Celery application. Tasks are found in each app's `tasks.py`."""

import os
from typing import Any

from celery import Celery
from celery.signals import task_failure, task_success

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
app = Celery("tenantry")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@task_failure.connect
def _failed(sender: Any, exception: BaseException, **_: Any) -> None:
    from gateway_project import task_board  # settings must be there first

    task_board.failed(sender.name, exception)


@task_success.connect
def _succeeded(sender: Any, **_: Any) -> None:
    from gateway_project import task_board

    task_board.succeeded(sender.name)
