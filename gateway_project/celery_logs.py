"""Make worker and beat log like every other process."""

from typing import Any

from celery import signals
from celery.apps import beat, worker
from django.conf import settings

from gateway_project.ground import logs


def log_as_settings_say(**_: Any) -> None:
    """Configure logging as the settings say. With this receiver connected, Celery leaves loggers alone."""
    logs.configure(settings.LOGGING)


def say(text: object, *_: Any) -> None:
    """Log what Celery prints without a logger, such as its message at SIGTERM."""
    print(logs.line_of("celery", str(text)), flush=True)


logs.begin()
signals.setup_logging.connect(log_as_settings_say)
if logs.is_json():
    # Celery prints banners and last messages, and no setting turns that off.
    worker.safe_say = say
    worker.Worker.emit_banner = lambda self: None
    beat.Beat.quiet = property(lambda self: True, lambda self, value: None)
