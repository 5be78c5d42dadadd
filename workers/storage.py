"""The storage worker: the registry's upkeep, next to the database and Distribution's storage."""

from fleetwide.providers.registry_storage import open_registry_storage
from fleetwide.settings import Settings
from fleetwide.store.session import Store
from fleetwide.temporal.worker import WorkerRole, make_worker
from workers.process import Process, run
from workers.registry import storage_activities

TASK_QUEUE = "storage"
STEPS_AT_A_TIME = 4


def role(settings: Settings) -> WorkerRole:
    """Everything that the task queue ``storage`` serves."""
    store = Store.from_settings(settings)
    return WorkerRole(
        task_queue=TASK_QUEUE,
        activities=storage_activities(settings, store, open_registry_storage(settings)),
        max_activities=STEPS_AT_A_TIME,
    )


async def serve(process: Process) -> None:
    async with make_worker(process.client, role(process.settings)):
        await process.stop.wait()


def main() -> None:
    run("storage", serve)
