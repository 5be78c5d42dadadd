"""The registry's part of the world: a storage worker next to a folder in Distribution's layout."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from fleetwide.providers.registry_storage import RegistryStorage
from fleetwide.providers.registry_trees import FolderTree
from fleetwide.settings import Settings
from fleetwide.store.session import Store
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.registry_shelf import Shelf
from tests.workflow.world import World
from workers.registry import storage_activities


@asynccontextmanager
async def storing(plane: World, folder: Path) -> AsyncIterator[Shelf]:
    """While this runs, the registry is looked after; nothing waits for a review."""
    store = Store(plane.store.engine, timedelta())
    storage = RegistryStorage(FolderTree(folder))
    role = WorkerRole("storage", activities=storage_activities(Settings(), store, storage))
    async with make_worker(plane.client, role):
        yield Shelf(store, storage, folder)
