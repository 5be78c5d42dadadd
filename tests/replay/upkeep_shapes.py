"""Golden histories of the registry's upkeep."""

import tempfile
from pathlib import Path
from typing import Any

from tests.registry_index import image
from tests.workflow.storing import storing
from tests.workflow.world import World

APP = "apps/golden"


async def _ended(plane: World, type_: str, request: dict[str, Any], workflow_id: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        async with storing(plane, Path(folder)):
            handle = await plane.start(type_, request, workflow_id)
            await handle.result()
    return handle


async def registry_is_collected(plane: World) -> Any:
    """In batches of one, begun by hand, with another rate."""
    with tempfile.TemporaryDirectory() as folder:
        async with storing(plane, Path(folder)) as box:
            box.upload(APP, "config", "layer")
            box.push(APP, image("layer"), "v1")
            box.untag(APP, "v1")
            request = {"batch": 1, "paused": True}
            handle = await plane.start("RegistryGarbageCollection", request, "registry-gc/golden")
            await handle.execute_update("set_rate", {"per_second": 1000})
            await handle.execute_update("resume", {"reason": "golden"})
            await handle.result()
    return handle


async def registry_is_planned(plane: World) -> Any:
    request = {"dry_run": True}
    return await _ended(plane, "RegistryGarbageCollection", request, "registry-gc/plan")


async def registry_is_reconciled(plane: World) -> Any:
    """The last beginnings of digests; a whole run has a history of 256 of them."""
    request = {"stage": "blobs", "cursor": "fc"}
    return await _ended(plane, "RegistryReconcile", request, "registry-reconcile/golden")


async def registry_is_compared_in_one_repository(plane: World) -> Any:
    request = {"repository": APP}
    return await _ended(plane, "RegistryReconcile", request, "registry-reconcile/one")


async def registry_is_scrubbed(plane: World) -> Any:
    return await _ended(plane, "RegistryScrub", {}, "registry-scrub/golden")


SHAPES = (
    registry_is_collected,
    registry_is_planned,
    registry_is_reconciled,
    registry_is_compared_in_one_repository,
    registry_is_scrubbed,
)
