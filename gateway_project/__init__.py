"""The project: settings, entry points, supervisor. The Celery app is loaded with it so that tasks find it."""

from gateway_project.celery import app as celery_app

__all__ = ("celery_app",)
