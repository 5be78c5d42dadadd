"""The replication worker: copies images to other regions. It has their accounts.

Where there are rules (``FLEETWIDE_REGISTRY_REGIONS``) one such worker follows the registry's
outbox; any number may share the copying.
"""

from temporalio.common import WorkflowIDConflictPolicy

from fleetwide.models.registry_regions import SweepState
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.registry_regions import Regions
from fleetwide.store.session import Store
from fleetwide.temporal.worker import WorkerRole, make_worker
from workers.control import TASK_QUEUE as CONTROL
from workers.process import Process, run
from workers.registry import replication_activities

TASK_QUEUE = "replication"
SWEEP_ID = "registry-replication"
COPIES_AT_A_TIME = 16


async def start_sweep(process: Process) -> None:
    """Start ``RegistryReplicationSweep`` unless it runs."""
    await process.client.start_workflow(
        "RegistryReplicationSweep",
        SweepState(),
        id=SWEEP_ID,
        task_queue=CONTROL,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        static_summary="copy what is pushed to other regions",
    )


async def serve(process: Process) -> None:
    settings = process.settings
    store = Store.from_settings(settings)
    with (
        Regions(settings.registry_regions) as regions,
        RegistryClient.from_settings(settings) as registry,
    ):
        regions.current()  # a wrong file ends the worker at once, with the reason
        role = WorkerRole(
            task_queue=TASK_QUEUE,
            activities=replication_activities(store, registry, regions, process.client),
            max_activities=COPIES_AT_A_TIME,
        )
        async with make_worker(process.client, role):
            await start_sweep(process)
            await process.stop.wait()
    store.engine.dispose()


def main() -> None:
    run("replication", serve)
