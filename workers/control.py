"""The control worker: all workflows, and the light activities on SQL and registry metadata."""

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from fleetwide.providers.distribution import RegistryClient
from fleetwide.settings import Settings
from fleetwide.store.session import Store
from fleetwide.temporal import upkeep
from fleetwide.temporal.versioning import version_of
from fleetwide.temporal.worker import WorkerRole, make_worker
from workers.process import Process, run
from workers.registry import WORKFLOWS, control_activities

TASK_QUEUE = "control"

log = structlog.get_logger()


def role(settings: Settings) -> WorkerRole:
    """Everything that the task queue ``control`` serves."""
    store = Store.from_settings(settings)
    registry = RegistryClient.from_settings(settings)
    return WorkerRole(
        task_queue=TASK_QUEUE,
        workflows=WORKFLOWS,
        activities=control_activities(settings, store, registry),
        max_activities=20,
        version=version_of(settings),
    )


async def serve(process: Process) -> None:
    build_id = process.settings.build_id
    async with make_worker(process.client, role(process.settings)):
        if build_id is not None:
            hint = f"it gets runs once it is current: fleetwide worker-version promote {build_id}"
            log.info("worker.version", build_id=build_id, hint=hint)
        if process.settings.registry_upkeep:
            await schedule_upkeep(process.client)
        await process.stop.wait()


async def schedule_upkeep(client: Client) -> None:
    """Let the registry look after itself, where nobody has said yet how.

    The worker serves also where that fails; the next one that starts tries again.
    """
    try:
        made = await upkeep.ensure(client)
    except RPCError as error:
        log.warning("registry.upkeep_not_scheduled", error=str(error))
        return
    if made:
        log.info("registry.upkeep_scheduled", kinds=[kind.value for kind in made])


def main() -> None:
    run("control", serve)
