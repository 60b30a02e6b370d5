"""The scheduler of `celery beat`: Celery's own, which also beats its presence."""

from typing import Any

from celery.beat import PersistentScheduler

from gateway_project.ground.presence import Presence


class PresentScheduler(PersistentScheduler):  # type: ignore[misc]  # Celery carries no types
    """Beats at each tick, so that a scheduler that hangs shows as missing."""

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
