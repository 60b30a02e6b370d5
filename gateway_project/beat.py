"""What `celery beat` runs: Celery's own schedule, which also says that it runs."""

from typing import Any

from celery.beat import PersistentScheduler

from gateway_project.ground.presence import Presence


class PresentScheduler(PersistentScheduler):  # type: ignore[misc]  # Celery carries no types
    """Says at each turn that it runs: a schedule that hangs falls silent."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.presence = Presence("beat")
        super().__init__(*args, **options)

    def tick(self, *args: Any, **options: Any) -> Any:
        wait = super().tick(*args, **options)
        self.presence.beat()
        return wait

    def close(self) -> None:
        super().close()
        self.presence.leave()
