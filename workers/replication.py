"""The replication worker: copies images to other regions. It has their accounts.

Where there is a file of regions (``FLEETWIDE_REGISTRY_REGIONS``) such a worker has the registry's
outbox followed; any number may share the copying. Without one it waits for work that nobody can
give it, and asks neither Temporal nor the database for anything else.
"""

from collections.abc import Callable
from typing import Any

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy

from activities.registry_pushes import CONTROL, PushActivities
from activities.registry_replication import ReplicationActivities
from fleetwide.models.registry_regions import SweepState
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.registry_regions import Regions
from fleetwide.store.session import Store
from fleetwide.temporal.worker import WorkerRole, make_worker
from workers.process import Process, run

TASK_QUEUE = "replication"
SWEEP_ID = "registry-replication"
COPIES_AT_A_TIME = 16


def replication_activities(
    store: Store, registry: RegistryClient, regions: Regions, client: Client
) -> list[Callable[..., Any]]:
    """What speaks to other regions: copies of what is pushed here."""
    copies = ReplicationActivities(store, registry, regions)
    pushes = PushActivities(store, regions, client)
    return [
        copies.find_missing,
        copies.copy_blob,
        copies.copy_manifests,
        copies.copy_tags,
        copies.book_failure,
        pushes.follow_pushes,
        pushes.compare_replicas,
    ]


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
            if settings.registry_regions is not None:
                await start_sweep(process)
            await process.stop.wait()
    store.engine.dispose()


def main() -> None:
    run("replication", serve)
