"""The Celery application. Tasks are found in each app's `tasks.py`."""

import os
import sys

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")
app = Celery("tenantry")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

if (
    "celery" in sys.argv[0]
):  # `celery worker` and `celery beat`: other processes import this only to send tasks
    from gateway_project import celery_logs as celery_logs
