"""Golden histories of services."""

from typing import Any

from fleetwide.models.task_states import EndReason
from tests.workflow.serving import service, serving, until_ready
from tests.workflow.world import World

WHY = {"reason": "golden"}


async def service_is_scaled_deployed_and_deleted(plane: World) -> Any:
    async with serving(plane):
        handle = await plane.start("ContainerService", service("sleep", desired=2), "service/gold")
        await until_ready(plane, handle, 2)
        await handle.execute_update("scale", {"desired": 3, **WHY})
        await until_ready(plane, handle, 3)
        changed = {"spec": service("sleep", "on"), "keep": ["capacity"], **WHY}
        await handle.execute_update("deploy", changed)
        await handle.execute_update("pause", WHY)
        await handle.execute_update("resume", WHY)
        await until_ready(plane, handle, 3)
        move = {"message": "golden", "reason": EndReason.HOST_DRAINING, "index": 0}
        await handle.signal("move", move)
        await until_ready(plane, handle, 3)
        await handle.execute_update("delete", WHY)
        await handle.result()
        return handle


async def service_is_cancelled(plane: World) -> Any:
    async with serving(plane):
        handle = await plane.start("ContainerService", service("sleep", desired=1), "service/ended")
        await until_ready(plane, handle, 1)
        await handle.cancel()
        await plane.until(lambda: not plane.host.running)
        return await _closed(plane, handle)


async def copy_is_stopped(plane: World) -> Any:
    """The task of a copy, which its service stops."""
    async with serving(plane):
        handle = await plane.start("ContainerService", service("sleep", desired=1), "service/one")
        await until_ready(plane, handle, 1)
        await handle.execute_update("delete", WHY)
        await handle.result()
        return plane.client.get_workflow_handle("task/one.0.1")


async def copy_is_killed(plane: World) -> Any:
    """The task of a copy, which somebody kills: its service stops it."""
    async with serving(plane):
        handle = await plane.start("ContainerService", service("sleep", desired=1), "service/shot")
        await until_ready(plane, handle, 1)
        copy = plane.client.get_workflow_handle("task/shot.0.1")
        await copy.execute_update("kill", WHY)
        await copy.result()
        await handle.execute_update("delete", WHY)
        await handle.result()
        return copy


async def copy_has_no_image(plane: World) -> Any:
    """The task of a copy of an image that is not there: it ends at once, with a row."""
    async with serving(plane):
        spec = service("sleep", desired=1, image="apps/nothing:1")
        handle = await plane.start("ContainerService", spec, "service/none")
        copy = plane.client.get_workflow_handle("task/none.0.1")
        await plane.until(lambda: _ended(copy))
        await handle.execute_update("delete", WHY)
        await handle.result()
        return copy


async def _ended(handle: Any) -> bool:
    try:
        return (await handle.describe()).close_time is not None
    except Exception as error:
        if "not found" in str(error):
            return False
        raise


async def _closed(plane: World, handle: Any) -> Any:
    await plane.until(lambda: _ended(handle))
    return handle


SHAPES = (
    service_is_scaled_deployed_and_deleted,
    service_is_cancelled,
    copy_is_stopped,
    copy_is_killed,
    copy_has_no_image,
)
