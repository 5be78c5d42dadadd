"""Cancel of an OS build in each of its stages: withdrawn, and nothing is left in the cloud."""

import asyncio

import pytest
from temporalio.client import WorkflowExecutionStatus

from fleetwide.errors import Conflict
from tests.workflow.os_lines import AMIS, booked, build, cancel, pointers, start, states, until_step
from tests.workflow.world import World

BUILDER_STEPS = (
    "resolve_lock",
    "fetch_packages",
    "build_container",
    "build_vm",
    "test_boot",
    "publish_image",
    "attach_documents",
    "upload_snapshot",
)
CLOUD_STEPS = ("register_ami", "copy_ami", "share_ami")


@pytest.mark.parametrize("step", [*BUILDER_STEPS, *CLOUD_STEPS])
async def test_cancel_in_a_stage_withdraws_the_release(plane: World, step: str) -> None:
    script = plane.cloud if step in CLOUD_STEPS else plane.builder
    script.stuck_at.add(step)
    handle = await start(plane, **AMIS)
    await until_step(plane, step)
    await cancel(plane, handle)
    assert (states(plane), pointers(plane)) == ({"1": "withdrawn"}, {})
    assert plane.cloud.amis == {}
    assert booked(plane)["reason"] == "cancelled"


@pytest.mark.parametrize("step", ["resolve_lock", "publish_image", "attach_documents", "share_ami"])
async def test_a_step_that_ends_well_all_the_same_does_not_undo_a_cancel(
    plane: World, step: str
) -> None:
    script = plane.cloud if step in CLOUD_STEPS else plane.builder
    script.deaf_at.add(step)
    handle = await start(plane, **AMIS)
    await until_step(plane, step)
    await handle.cancel()
    script.deaf_at.clear()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert (states(plane), pointers(plane)) == ({"1": "withdrawn"}, {})
    assert plane.cloud.amis == {}


async def test_cancel_while_the_version_is_claimed_leaves_no_claim(plane: World) -> None:
    plane.placing.cancel()
    with plane.store.write() as session:
        session.connection()  # somebody else writes
        handle = await start(plane)
        await asyncio.sleep(0.5)
        await handle.cancel()
        await asyncio.sleep(0.5)
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert (states(plane), pointers(plane)) == ({"1": "withdrawn"}, {})


async def test_a_withdrawn_candidate_leaves_its_channel_and_its_amis(plane: World) -> None:
    handle = await build(plane, **AMIS)
    assert len(plane.cloud.amis) == 2
    await cancel(plane, handle)
    assert (states(plane), pointers(plane)) == ({"1": "withdrawn"}, {})
    assert plane.cloud.amis == {}


async def test_a_version_that_was_withdrawn_can_be_built_again(plane: World) -> None:
    await cancel(plane, await build(plane))
    await build(plane)
    assert pointers(plane) == {"candidate": "1"}


async def test_cancel_of_a_stable_release_leaves_it_as_it_is(plane: World) -> None:
    handle = await build(plane, **AMIS)
    await handle.execute_update("promote", {})
    await cancel(plane, handle)
    assert states(plane) == {"1": "stable"}
    assert pointers(plane) == {"candidate": "1", "stable": "1"}
    assert len(plane.cloud.amis) == 2


async def test_cancel_of_a_held_release_leaves_it_held(plane: World) -> None:
    handle = await build(plane)
    await handle.execute_update("hold", {"reason": "under suspicion"})
    await cancel(plane, handle)
    assert states(plane) == {"1": "held"}


async def test_cancel_while_it_is_being_promoted_waits_for_that(plane: World) -> None:
    handle = await build(plane, **AMIS)
    plane.cloud.deaf_at.add("find_invisible")
    promoting = asyncio.create_task(handle.execute_update("promote", {}))
    await until_step(plane, "find_invisible")
    await handle.cancel()
    await asyncio.sleep(0.3)
    plane.cloud.deaf_at.clear()
    assert (await promoting)["state"] == "stable"
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert (states(plane), pointers(plane)["stable"]) == ({"1": "stable"}, "1")
    assert len(plane.cloud.amis) == 2


async def test_a_cloud_that_is_away_does_not_keep_a_withdrawal_out_of_the_books(
    plane: World,
) -> None:
    handle = await build(plane, **AMIS)
    plane.cloud.fail_at["drop_amis"] = Conflict("somebody uses the snapshot")
    await handle.cancel()
    await plane.until(lambda: states(plane) == {"1": "withdrawn"})
    assert pointers(plane) == {}
