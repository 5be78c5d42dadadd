"""The control worker: all workflows, and the light activities on SQL and registry metadata."""

from fleetwide.providers.distribution import RegistryClient
from fleetwide.settings import Settings
from fleetwide.store.session import Store
from fleetwide.temporal.worker import WorkerRole, make_worker
from workers.process import Process, run
from workers.registry import WORKFLOWS, control_activities

TASK_QUEUE = "control"


def role(settings: Settings) -> WorkerRole:
    """Everything that the task queue ``control`` serves."""
    store = Store.from_settings(settings)
    registry = RegistryClient.from_settings(settings)
    return WorkerRole(
        task_queue=TASK_QUEUE,
        workflows=WORKFLOWS,
        activities=control_activities(settings, store, registry),
        max_activities=20,
    )


async def serve(process: Process) -> None:
    async with make_worker(process.client, role(process.settings)):
        await process.stop.wait()


def main() -> None:
    run("control", serve)
