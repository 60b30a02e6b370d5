"""Beat's schedule, as Celery's own scheduler reads it."""

import pytest
from celery.beat import PersistentScheduler
from django.conf import settings

from gateway_project.celery import app


@pytest.fixture
def beat(tmp_path):
    """Starts it, on the same file each time, as another process would."""

    def start():
        return PersistentScheduler(app=app, schedule_filename=str(tmp_path / "beat"))

    return start


def due(scheduler):
    return {name for name, entry in scheduler.schedule.items() if entry.is_due()[0]}


def test_every_task_is_due_at_the_first_start(beat):
    scheduler = beat()

    assert due(scheduler) == set(settings.CELERY_BEAT_SCHEDULE)
    scheduler.close()


def test_what_has_run_is_not_due_again_after_a_restart(beat):
    first = beat()
    for entry in list(first.schedule.values()):
        first.reserve(entry)
    first.close()

    again = beat()

    assert due(again) == set()
    again.close()


@pytest.mark.django_db  # importing them runs Django's checks, which look for secrets that cannot be read
def test_every_task_of_the_schedule_exists():
    app.loader.import_default_modules()
    assert {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()} <= set(app.tasks)
