"""Questions about a line of releases, and its upkeep: plan, fixes, retention."""

from typing import Any

import pytest

from fleetwide.errors import BuildFailed
from fleetwide.models.baseos import Target
from fleetwide.models.os_reports import Fix
from fleetwide.store import events
from tests.workflow.os_lines import (
    AMIS,
    BOTH,
    SPEC,
    WHY,
    booked,
    build,
    cancel,
    failure,
    grow_old,
    pointers,
    start,
    states,
)
from tests.workflow.world import World

POLICY = {"name": "baseos", "retention": {"keep": 1, "max_age_days": 30}}


async def ask(plane: World, type_: str, given: dict[str, Any]) -> Any:
    return await (await plane.start(type_, given, f"ask/{type_}")).result()


async def test_a_plan_builds_nothing_and_claims_nothing(plane: World) -> None:
    plane.builder.lock = "today"
    preview = await ask(plane, "OSImagePlan", SPEC)
    assert (preview["against"], preview["unchanged"]) == (None, None)
    assert (states(plane), plane.builder.builds) == ({}, 0)


async def test_a_plan_tells_that_a_build_would_change_nothing(plane: World) -> None:
    plane.builder.lock = "today"
    await build(plane, "1")
    preview = await ask(plane, "OSImagePlan", SPEC)
    assert (preview["against"], preview["unchanged"]) == ("1", "1")
    plane.builder.lock = "tomorrow"
    assert (await ask(plane, "OSImagePlan", SPEC))["unchanged"] is None


async def test_the_build_key_that_a_plan_tells_is_the_build_s(plane: World) -> None:
    plane.builder.lock = "today"
    preview = await ask(plane, "OSImagePlan", SPEC)
    await build(plane, "1")
    assert booked(plane)["build_key"] == preview["build_key"]


async def test_fixes_are_looked_for_in_what_a_channel_means(plane: World) -> None:
    fix = Fix(package="dash", source="dash", installed="0.5", fixed_in="0.6", cves=["CVE-2026-1"])
    plane.archives.fixes.append(fix)
    await (await build(plane, "1")).execute_update("promote", {})
    await build(plane, "2")
    report = await ask(plane, "OSFixesAvailable", {"name": "baseos"})
    assert (report["version"], report["fixes"][0]["cves"]) == ("1", ["CVE-2026-1"])
    asked = {"name": "baseos", "pointer": "candidate"}
    assert (await ask(plane, "OSFixesAvailable", asked))["version"] == "2"


async def test_fixes_of_a_release_that_is_not_there_are_not_looked_for(plane: World) -> None:
    handle = await plane.start("OSFixesAvailable", {"name": "baseos"}, "ask/nothing")
    assert (await failure(handle)).type == "NotFound"
    assert plane.archives.steps == []


async def test_a_release_is_built_again_from_its_own_lock(plane: World) -> None:
    await build(plane, "1", **BOTH)
    plane.builder.lock = "tomorrow"
    plane.builder.steps.clear()
    report = await ask(plane, "OSReproduction", {"name": "baseos", "pointer": "candidate"})
    assert (report["version"], report["reproduced"]) == ("1", True)
    assert [face["target"] for face in report["faces"]] == ["container", "vm"]
    assert "resolve_lock" not in plane.builder.steps
    [told] = remembered(plane)
    assert told == "baseos 1 was built again: container: the same bytes; vm: the same bytes"


async def test_other_bytes_are_told_by_face(plane: World) -> None:
    handle = await build(plane, "1", **BOTH)
    plane.builder.drifted.add(Target.VM)
    report = await ask(plane, "OSReproduction", {"name": "baseos", "pointer": "1"})
    assert not report["reproduced"]
    [container, vm] = report["faces"]
    assert container["released"] == container["rebuilt"]["digest"]
    assert vm["released"] != vm["rebuilt"]["digest"]
    assert (await handle.query("status"))["state"] == "candidate"


async def test_a_revoked_release_can_still_be_built_again(plane: World) -> None:
    handle = await build(plane, "1")
    await handle.execute_update("revoke", WHY)
    report = await ask(plane, "OSReproduction", {"name": "baseos", "pointer": "1"})
    assert report["reproduced"]


async def test_what_was_never_built_cannot_be_built_again(plane: World) -> None:
    plane.builder.fail_at["build_container"] = BuildFailed("no")
    handle = await start(plane, "1")
    await failure(handle)
    asked = await plane.start("OSReproduction", {"name": "baseos", "pointer": "1"}, "ask/again")
    assert (await failure(asked)).type == "Conflict"


def remembered(plane: World) -> list[str]:
    with plane.store.read() as session:
        found = events.after(session, 0, subject="os/baseos/1")
        return [event.message for event in found if event.kind == "rebuilt"]


async def test_an_old_release_that_nobody_uses_is_retired_by_its_own_workflow(
    plane: World,
) -> None:
    old = await build(plane, "1", **AMIS)
    await build(plane, "2", **AMIS)
    grow_old(plane, "1", "2")
    plane.cloud.leftovers.append("snap-lost")
    report = await ask(plane, "OSRetention", POLICY)
    assert (report["retired"], report["kept"], report["swept"]) == (["1"], [], ["snap-lost"])
    assert (await old.result())["state"] == "retired"
    assert states(plane) == {"1": "retired", "2": "candidate"}
    assert {ami.name for ami in plane.cloud.amis.values()} == {"baseos-2"}


async def test_an_old_release_whose_workflow_is_closed_is_retired_too(plane: World) -> None:
    for version in ("1", "2", "3"):
        handle = await build(plane, version, **AMIS)
        await handle.execute_update("promote", {})
        await cancel(plane, handle)  # it leaves a stable release as it is
    grow_old(plane, "1")
    assert (await ask(plane, "OSRetention", POLICY))["retired"] == ["1"]
    assert states(plane) == {"1": "retired", "2": "previous", "3": "stable"}
    assert {ami.name for ami in plane.cloud.amis.values()} == {"baseos-2", "baseos-3"}
    assert plane.builder.forgotten == [booked(plane)["disk"]["key"]]


@pytest.mark.parametrize("instances", [0, 2])
async def test_what_is_used_stays_and_it_is_told_why(plane: World, instances: int) -> None:
    stable = await build(plane, "1")
    await stable.execute_update("promote", {})
    await build(plane, "2", **AMIS)
    await build(plane, "3")
    grow_old(plane, "1", "2")
    plane.cloud.instances = instances
    report = await ask(plane, "OSRetention", POLICY)
    kept = {one["version"]: one["reasons"] for one in report["kept"]}
    assert kept["1"] == ["channel stable points at it"]
    told = {"2": ["2 instances were started from its AMIs"]} if instances else {}
    assert kept == {"1": ["channel stable points at it"], **told}
    assert pointers(plane) == {"candidate": "3", "stable": "1"}


async def test_a_dry_run_retires_nothing(plane: World) -> None:
    await build(plane, "1", **AMIS)
    await build(plane, "2")
    grow_old(plane, "1")
    report = await ask(plane, "OSRetention", {**POLICY, "dry_run": True})
    assert (report["retired"], report["dry_run"]) == (["1"], True)
    assert states(plane) == {"1": "candidate", "2": "candidate"}
    assert "sweep_cloud" not in plane.cloud.steps


async def test_what_failed_or_is_being_built_is_no_release_to_retire(plane: World) -> None:
    await cancel(plane, await build(plane, "1"))
    plane.builder.stuck_at.add("build_container")
    await start(plane, "2")
    await plane.until(lambda: len(states(plane)) == 2)
    grow_old(plane, "1", "2")
    assert (await ask(plane, "OSRetention", POLICY))["retired"] == []
