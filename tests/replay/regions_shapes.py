"""Golden histories of copies in other regions, and of images on hosts."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from temporalio import activity
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError

from fleetwide.models.hosts import HostSpec, host_task_queue
from fleetwide.models.registry_preheat import WarmedHost, WarmHost
from fleetwide.store import hosts
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.workflow.scripted_regions import BLOBS, scripted_region
from tests.workflow.world import DIGEST, World

PREHEATED = "preheated"
IMAGE = {"repository": "apps/golden", "digest": DIGEST, "region": "far"}


async def image_is_replicated(plane: World) -> Any:
    """In two pages, with a retry, and pushed again meanwhile."""
    async with scripted_region(plane) as region:
        region.pages = 2
        region.flaky.add(BLOBS[0].digest)
        handle = await plane.start("ImageReplication", IMAGE, "replicate/golden")

        async def pushed() -> None:
            if "manifests" not in region.steps:
                await handle.signal("pushed_again")

        region.on_manifests = pushed
        await handle.result()
    return handle


async def image_is_not_replicated(plane: World) -> Any:
    async with scripted_region(plane) as region:
        region.refuses = "the region is full"
        handle = await plane.start("ImageReplication", IMAGE, "replicate/refused")
        with suppress(WorkflowFailureError):
            await handle.result()
    return handle


async def pushes_are_followed(plane: World) -> Any:
    async with scripted_region(plane) as region:
        handle = await plane.start("RegistryReplicationSweep", {}, "registry-replication")
        await plane.until(lambda: 3 in region.followed)
        await handle.cancel()
        await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    return handle


@activity.defn(name="preheat.warm_host")
async def _warm_host(request: WarmHost) -> WarmedHost:
    return WarmedHost(host_id=PREHEATED, bytes_registry=1000)


async def image_is_preheated(plane: World) -> Any:
    async with make_worker(
        plane.client, WorkerRole(host_task_queue(PREHEATED), activities=[_warm_host])
    ):
        with plane.store.write() as session:
            hosts.register(
                session,
                HostSpec.model_validate({"host_id": PREHEATED, "cpu": 1, "memory": "1GiB"}),
                now=datetime.now(UTC),
            )
        spec = {"reference": f"apps/golden@{DIGEST}", "hosts": [PREHEATED]}
        handle = await plane.start("ImagePreheat", spec, "preheat/golden")
        await handle.result()
    return handle


SHAPES = (
    image_is_replicated,
    image_is_not_replicated,
    pushes_are_followed,
    image_is_preheated,
)
