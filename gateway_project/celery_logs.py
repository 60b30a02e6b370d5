"""Worker and beat log as every other process does."""

from typing import Any

from celery import signals
from celery.apps import beat, worker
from django.conf import settings

from gateway_project.ground import logs


def log_as_settings_say(**_: Any) -> None:
    """Where somebody listens, Celery leaves loggers alone: its own would write text past our formatters."""
    logs.configure(settings.LOGGING)


def say(text: object, *_: Any) -> None:
    """What Celery writes without a logger, such as its last words at SIGTERM."""
    print(logs.line_of("celery", str(text)), flush=True)


logs.begin()
signals.setup_logging.connect(log_as_settings_say)
if logs.is_json():
    # Banners and last words are printed, and no setting turns that off.
    worker.safe_say = say
    worker.Worker.emit_banner = lambda self: None
    beat.Beat.quiet = property(lambda self: True, lambda self, value: None)
