"""Hold, unhold, revoke, retire: what may be done to a release in which state, and what is left."""

import asyncio

import pytest

from tests.workflow.os_lines import (
    AMIS,
    WHY,
    booked,
    build,
    pointers,
    refusal,
    start,
    states,
    until_state,
    until_step,
)
from tests.workflow.world import World


async def test_a_held_release_is_not_promoted_until_it_is_let_go(plane: World) -> None:
    handle = await build(plane)
    held = await handle.execute_update("hold", WHY)
    assert (held["state"], held["reason"]) == ("held", "it is broken (ada)")
    fault = await refusal(handle, "promote", {"emergency": True})
    assert "it is held: it is broken (ada)" in fault.message
    assert states(plane) == {"1": "held"}
    let_go = await handle.execute_update("unhold", {"reason": "false alarm"})
    assert (let_go["state"], let_go["reason"]) == ("candidate", "")
    await handle.execute_update("promote", {})
    assert pointers(plane)["stable"] == "1"


async def test_a_release_that_was_stable_is_let_go_to_where_it_was(plane: World) -> None:
    first, second = await build(plane, "1"), await build(plane, "2")
    for handle in (first, second):
        await handle.execute_update("promote", {})
    await until_state(plane, first, "previous")
    await first.execute_update("hold", WHY)
    assert states(plane)["1"] == "held"
    let_go = await first.execute_update("unhold", WHY)
    assert let_go["state"] == "previous"
    await first.execute_update("promote", {})
    assert pointers(plane)["stable"] == "1"


async def test_a_held_release_stays_held_when_newer_ones_come(plane: World) -> None:
    handles = [await build(plane, version) for version in ("1", "2", "3")]
    for handle in handles[:2]:
        await handle.execute_update("promote", {})
    await until_state(plane, handles[0], "previous")
    await handles[0].execute_update("hold", WHY)
    await handles[2].execute_update("promote", {})
    assert states(plane) == {"1": "held", "2": "previous", "3": "stable"}
    let_go = await handles[0].execute_update("unhold", WHY)
    assert let_go["state"] == "superseded"


async def test_the_stable_release_cannot_be_held_or_retired(plane: World) -> None:
    handle = await build(plane)
    await handle.execute_update("promote", {})
    for update, verb in (("hold", "held"), ("retire", "retired"), ("unhold", "let go")):
        fault = await refusal(handle, update, WHY)
        assert (fault.type, fault.message) == (
            "Conflict",
            f"the release cannot be {verb}: it is stable",
        )


async def test_a_release_that_is_being_built_cannot_be_revoked(plane: World) -> None:
    plane.builder.stuck_at.add("build_container")
    handle = await start(plane)
    await until_step(plane, "build_container")
    for update in ("hold", "unhold", "revoke", "retire"):
        assert "building container" in (await refusal(handle, update, WHY)).message


@pytest.mark.parametrize("promoted", [False, True])
async def test_a_revoked_release_loses_its_channels_and_its_amis(
    plane: World, promoted: bool
) -> None:
    handle = await build(plane, **AMIS)
    if promoted:
        await handle.execute_update("promote", {})
    await handle.execute_update("revoke", WHY)
    ended = await handle.result()
    assert (ended["state"], ended["reason"]) == ("revoked", "it is broken (ada)")
    assert (states(plane), pointers(plane)) == ({"1": "revoked"}, {})
    assert plane.cloud.amis == {}
    # Its bytes stay, to be looked into.
    assert plane.builder.forgotten == []
    assert booked(plane)["amis"] == []


async def test_amis_go_before_the_snapshots_that_they_use(plane: World) -> None:
    handle = await build(plane, **AMIS)
    await handle.execute_update("revoke", WHY)
    assert plane.builder.steps[-2:] == ["drop_amis", "drop_upload"]


async def test_what_was_revoked_is_built_again_under_another_version(plane: World) -> None:
    plane.builder.lock = "today"
    handle = await build(plane, "1")
    await handle.execute_update("revoke", WHY)
    await handle.result()
    await build(plane, "2")
    assert states(plane) == {"1": "revoked", "2": "candidate"}


async def test_a_retired_release_leaves_no_ami_and_no_disk(plane: World) -> None:
    first = await build(plane, "1", **AMIS)
    await build(plane, "2", **AMIS)
    await first.execute_update("retire", {"reason": "older than 180 days"})
    assert (await first.result())["state"] == "retired"
    assert (states(plane)["1"], pointers(plane)) == ("retired", {"candidate": "2"})
    assert {ami.name for ami in plane.cloud.amis.values()} == {"baseos-2"}
    [forgotten] = plane.builder.forgotten
    assert forgotten == booked(plane)["disk"]["key"]


async def test_a_superseded_release_can_be_retired_and_a_previous_one_cannot(
    plane: World,
) -> None:
    handles = [await build(plane, version) for version in ("1", "2", "3")]
    for handle in handles:
        await handle.execute_update("promote", {})
    await until_state(plane, handles[1], "previous")
    assert "it is previous" in (await refusal(handles[1], "retire", WHY)).message
    await until_state(plane, handles[0], "superseded")
    await handles[0].execute_update("retire", WHY)
    assert states(plane) == {"1": "retired", "2": "previous", "3": "stable"}


async def test_hold_while_it_is_being_revoked_comes_too_late(plane: World) -> None:
    handle = await build(plane, **AMIS)
    plane.cloud.deaf_at.add("drop_amis")
    revoking = asyncio.create_task(handle.execute_update("revoke", WHY))
    await until_step(plane, "drop_amis")
    holding = asyncio.create_task(refusal(handle, "hold", WHY))
    await asyncio.sleep(0.3)
    plane.cloud.deaf_at.clear()
    assert (await revoking)["state"] == "revoked"
    assert "it is revoked" in (await holding).message
    assert (await handle.result())["state"] == "revoked"
    assert states(plane) == {"1": "revoked"}
