"""What the scheduler does beside placing: clears away what errands left, tells wanted images."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Self

import structlog

from fleetwide.providers import errand_objects
from fleetwide.providers.image_room import publish_wanted
from fleetwide.providers.objects import ObjectStore, open_object_store
from fleetwide.settings import Settings
from fleetwide.store import image_collections
from fleetwide.store.session import Store

SWEEP_SECONDS = 600.0

log = structlog.get_logger()


class Sweeper:
    """Deletes what is past its lifetime, and tells hosts what is not; two at once do no harm."""

    def __init__(self, store: Store, objects: ObjectStore, lifetime: timedelta) -> None:
        self._store = store
        self._told: set[str] | None = None
        self._objects = objects
        self._lifetime = lifetime

    @classmethod
    def from_settings(cls, settings: Settings, store: Store) -> Self:
        lifetime = timedelta(hours=settings.errand_hours)
        return cls(store, open_object_store(settings), lifetime)

    async def tell_wanted_images(self) -> None:
        """Tell all hosts which images tasks that wait or run are made of, where that changed."""
        await asyncio.to_thread(self._tell_wanted)

    def _tell_wanted(self) -> None:
        with self._store.read() as session:
            wanted = image_collections.wanted(session)
        if wanted != self._told:
            publish_wanted(self._objects, wanted)
            self._told = wanted

    async def sweep_errands(self) -> None:
        """One pass."""
        now = datetime.now(UTC)
        gone = await asyncio.to_thread(errand_objects.sweep, self._objects, now, self._lifetime)
        if gone:
            log.info("errands.swept", objects=gone)
