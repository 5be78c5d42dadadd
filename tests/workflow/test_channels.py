"""Promotion and what stands against it; rollback; who moved which channel, and why."""

import asyncio
from typing import Any

import pytest

from fleetwide.store import releases
from tests.workflow.os_lines import (
    AMIS,
    BOTH,
    build,
    history,
    pointers,
    refusal,
    start,
    states,
    until_state,
    until_step,
)
from tests.workflow.world import World

SOAK: dict[str, Any] = {"promotion": {"soak_hours": 24}}


async def test_a_promoted_release_stays_open_and_is_stable(plane: World) -> None:
    handle = await build(plane)
    promoted = await handle.execute_update("promote", {"channel": "stable"})
    assert promoted["state"] == "stable"
    assert pointers(plane) == {"candidate": "1", "stable": "1"}
    status = await handle.query("status")
    assert (status["state"], status["step"]) == ("stable", "stable")


async def test_a_second_promotion_changes_nothing(plane: World) -> None:
    handle = await build(plane)
    first = await handle.execute_update("promote", {})
    before = history(plane)
    again = await handle.execute_update("promote", {"by": "somebody else"})
    assert again["promoted_at"] == first["promoted_at"]
    assert history(plane) == before


async def test_the_one_before_becomes_previous_and_the_one_before_that_superseded(
    plane: World,
) -> None:
    handles = [await build(plane, version) for version in ("1", "2", "3")]
    for handle in handles:
        await handle.execute_update("promote", {})
    assert states(plane) == {"1": "superseded", "2": "previous", "3": "stable"}
    assert pointers(plane) == {"candidate": "3", "previous": "2", "stable": "3"}
    # The older ones' own pages say so too.
    for handle, state in zip(handles, ("superseded", "previous", "stable"), strict=True):
        await until_state(plane, handle, state)


async def test_a_release_is_rolled_back_by_promoting_the_older_one(plane: World) -> None:
    first, second = await build(plane, "1"), await build(plane, "2")
    await first.execute_update("promote", {"by": "ada", "reason": "ready"})
    await second.execute_update("promote", {"by": "bob", "reason": "newer"})
    back = {"expected": "2", "by": "ada", "reason": "2 loses packets"}
    assert (await first.execute_update("promote", back))["state"] == "stable"
    assert states(plane) == {"1": "stable", "2": "previous"}
    assert pointers(plane) == {"candidate": "2", "previous": "2", "stable": "1"}
    await until_state(plane, second, "previous")
    # Forward again.
    await second.execute_update("promote", {"expected": "1"})
    await until_state(plane, first, "previous")
    assert states(plane) == {"1": "previous", "2": "stable"}


async def test_the_history_says_who_moved_what_and_why(plane: World) -> None:
    first, second = await build(plane, "1"), await build(plane, "2")
    await first.execute_update("promote", {"by": "ada", "reason": "ready"})
    await second.execute_update("promote", {"by": "bob", "reason": "newer"})
    await second.execute_update("revoke", {"by": "eve", "reason": "CVE"})
    told = [(m.channel, m.before, m.version, m.revision, m.by, m.reason) for m in history(plane)]
    assert told == [
        ("candidate", None, "1", 1, "", "built"),
        ("candidate", "1", "2", 2, "", "built"),
        ("stable", None, "1", 1, "ada", "ready"),
        ("stable", "1", "2", 2, "bob", "newer"),
        ("previous", None, "1", 1, "bob", "newer"),
        ("candidate", "2", None, 3, "eve", "CVE (eve)"),
        ("stable", "2", None, 3, "eve", "CVE (eve)"),
    ]


async def test_a_line_of_vms_has_channels_too(plane: World) -> None:
    handle = await build(plane, targets=["vm"])
    await handle.execute_update("promote", {})
    with plane.store.read() as session:
        assert releases.resolve(session, "baseos", "stable").version == "1"


async def test_promotion_is_refused_while_the_release_is_built(plane: World) -> None:
    plane.builder.stuck_at.add("build_container")
    handle = await start(plane)
    await until_step(plane, "build_container")
    assert "still being built" in (await refusal(handle, "promote", {})).message


@pytest.mark.parametrize("argument", [{"channel": "candidate"}, {"channel": "previous"}])
async def test_only_stable_can_be_pointed_by_hand(plane: World, argument: dict[str, Any]) -> None:
    handle = await build(plane)
    fault = await refusal(handle, "promote", argument)
    assert (fault.type, "must be stable" in fault.message) == ("InvalidInput", True)


@pytest.mark.parametrize(
    ("update", "argument"),
    [
        ("promote", {"channel": "golden"}),
        ("promote", {"chanel": "stable"}),
        ("promote", None),
        ("hold", {}),
        ("revoke", {"reason": ""}),
    ],
)
async def test_an_update_that_is_wrong_is_refused_and_leaves_no_trace(
    plane: World, update: str, argument: Any
) -> None:
    handle = await build(plane)
    await refusal(handle, update, argument)
    assert (states(plane), pointers(plane)) == ({"1": "candidate"}, {"candidate": "1"})


async def test_a_soak_must_be_over_except_in_an_emergency(plane: World) -> None:
    handle = await build(plane, **SOAK)
    fault = await refusal(handle, "promote", {})
    assert (fault.type, "its soak ends in 24.0 hours" in fault.message) == ("Conflict", True)
    assert pointers(plane) == {"candidate": "1"}
    await handle.execute_update("promote", {"emergency": True, "reason": "heartbleed"})
    assert pointers(plane)["stable"] == "1"


async def test_a_rollback_needs_no_second_soak(plane: World) -> None:
    first, second = await build(plane, "1", **SOAK), await build(plane, "2", **SOAK)
    for handle in (first, second):
        await handle.execute_update("promote", {"emergency": True})
    await first.execute_update("promote", {})
    assert pointers(plane)["stable"] == "1"


async def test_an_ami_that_a_region_does_not_show_stops_the_promotion(plane: World) -> None:
    handle = await build(plane, **AMIS)
    plane.cloud.invisible.add("us-east-2")
    fault = await refusal(handle, "promote", {"emergency": True})
    assert fault.message == "its AMI cannot be launched in us-east-2 now"
    assert pointers(plane) == {"candidate": "1"}
    plane.cloud.invisible.clear()
    await handle.execute_update("promote", {})


async def test_a_channel_that_somebody_else_moved_is_a_conflict(plane: World) -> None:
    first, second = await build(plane, "1"), await build(plane, "2")
    await first.execute_update("promote", {})
    fault = await refusal(second, "promote", {"expected": "0"})
    assert fault.type == "Conflict"
    assert "points at 1, not at 0" in fault.message
    assert states(plane) == {"1": "stable", "2": "candidate"}
    await second.execute_update("promote", {"expected": "1"})


async def test_two_promotions_at_the_same_moment_leave_one_stable_release(plane: World) -> None:
    handles = [await build(plane, version, **BOTH) for version in ("1", "2")]
    await asyncio.gather(*(handle.execute_update("promote", {}) for handle in handles))
    found = states(plane)
    assert sorted(found.values()) == ["previous", "stable"]
    stable = pointers(plane)["stable"]
    assert found[stable] == "stable"
    for number, handle in enumerate(handles, 1):
        await until_state(plane, handle, found[str(number)])
