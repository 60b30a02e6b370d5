"""For CELERY_LOADER: how beat finds its settings and nothing else. It is imported before there are settings."""

from celery.loaders.app import AppLoader


class BareLoader(AppLoader):  # type: ignore[misc]  # Celery carries no types
    """Beat sends tasks by name, so it needs neither them nor Django (60 MB, two seconds)."""

    def import_default_modules(self) -> None:
        return None
