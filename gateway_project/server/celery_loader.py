"""The CELERY_LOADER of beat, which loads its settings and nothing else. It is imported before settings exist."""

from celery.loaders.app import AppLoader


class BareLoader(AppLoader):  # type: ignore[misc]  # Celery carries no types
    """Loads no tasks and no Django (60 MB, two seconds), since beat sends tasks by name."""

    def import_default_modules(self) -> None:
        return None
