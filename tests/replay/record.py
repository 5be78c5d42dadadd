"""Record the golden histories: ``make histories``.

Each shape is run once on a real dev server and its history kept as JSON; names of shapes as
arguments record only those. Record anew only when a
workflow is meant to issue other commands; a change that must also serve running workflows needs a
patch marker (``workflow.patched``) and keeps the old history beside the new one.
"""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle

from fleetwide.errors import BuildFailed, SmokeTestFailed
from fleetwide.models.batch_control import CancelChildren, HoldRequest, ReleaseRequest
from fleetwide.models.containers import KillRequest
from fleetwide.models.evictions import Eviction
from fleetwide.store import images
from tests.replay import (
    capacity_shapes,
    errand_shapes,
    pool_shapes,
    regions_shapes,
    registry_shapes,
    service_shapes,
    upkeep_shapes,
)
from tests.workflow.os_lines import (
    AMIS,
    BOTH,
    SPEC,
    WHY,
    build,
    grow_old,
    start,
    until_state,
    until_step,
)
from tests.workflow.world import HOST, World, job, task, world

HISTORIES = Path(__file__).parent / "histories"
ROOT = Path(__file__).parents[2]
Shape = Callable[[World], Awaitable[WorkflowHandle[Any, Any]]]
RETRY = {"retries": 1, "delay_seconds": 0.05}


async def _ended(plane: World, type_: str, spec: Any, workflow_id: str) -> Any:
    handle = await plane.start(type_, spec, workflow_id)
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def _cancelled(plane: World, handle: WorkflowHandle[Any, Any]) -> Any:
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    return handle


async def task_succeeds(plane: World) -> Any:
    return await _ended(plane, "ContainerTask", task("exit", "0"), "task/succeeds")


async def task_retries(plane: World) -> Any:
    return await _ended(plane, "ContainerTask", task("flaky", retry=RETRY), "task/retries")


async def task_fails(plane: World) -> Any:
    return await _ended(plane, "ContainerTask", task("exit", "3"), "task/fails")


async def task_is_cancelled(plane: World) -> Any:
    handle = await plane.start("ContainerTask", task("sleep"), "task/cancelled")
    await plane.until(lambda: plane.host.running)
    return await _cancelled(plane, handle)


async def task_is_killed(plane: World) -> Any:
    handle = await plane.start("ContainerTask", task("sleep"), "task/killed")
    await plane.until(lambda: plane.host.running)
    await handle.execute_update("kill", KillRequest(reason="golden"))
    await handle.result()
    return handle


async def task_is_evicted(plane: World) -> Any:
    handle = await plane.start("ContainerTask", task("sleep-once"), "task/evicted")
    await plane.until(lambda: plane.host.running)
    await handle.signal("evict", Eviction(message="golden"))
    await handle.result()
    return handle


async def batch_waits_for_others(plane: World) -> Any:
    first = await plane.start("BatchJob", job("sleep", size=1), "batch/first")
    spec = job("exit", "0", size=1, depends_on=[{"job": "first", "condition": "afterany"}])
    handle = await plane.start("BatchJob", spec, "batch/second")

    async def waits() -> Any:
        return (await handle.query("status"))["waiting"]

    await plane.until(waits)
    await first.execute_update("cancel", KillRequest(reason="golden"))
    await handle.signal("others_ended")
    await handle.result()
    return handle


async def batch_is_held(plane: World) -> Any:
    """On hold from its start, held again while it runs, cut down, released."""
    limits = {"start_after": datetime.now(UTC) + timedelta(seconds=1), "time_limit_seconds": 3600}
    spec = job("sleep-once", size=8, **limits)
    handle = await plane.start("BatchJob", spec, "batch/held")
    await plane.until(lambda: plane.host.running == 4)
    some = CancelChildren(indexes=[(0, 0), (6, 7)], reason="two are enough")
    await handle.execute_update("cancel_children", some)
    hold = HoldRequest(reason="the bucket is moved", stop_running=True)
    await handle.execute_update("hold", hold)
    await plane.until(lambda: plane.host.running == 0)
    await handle.execute_update("cancel_children", some.model_copy(update={"indexes": [(3, 5)]}))
    await handle.execute_update("release", ReleaseRequest())
    await handle.result()
    return handle


async def batch_is_evicted(plane: World) -> Any:
    handle = await plane.start("BatchJob", job("sleep-once", size=3), "batch/evicted")
    await plane.until(lambda: plane.host.running == 3)
    await handle.signal("evict", Eviction(message="golden", index=1))
    await plane.until(lambda: (1, 2) in plane.host.runs)
    await handle.signal("evict", Eviction(message="golden", host_id=HOST))
    await handle.result()
    return handle


async def task_waits(plane: World) -> Any:
    handle = await plane.start("ContainerTask", task("exit", "0", cpu=64), "task/waits")

    async def told() -> Any:
        return (await handle.query("status"))["waiting"]

    await plane.until(told)
    return await _cancelled(plane, handle)


async def batch_succeeds(plane: World) -> Any:
    spec = job("flaky", size=6, retry=RETRY)
    return await _ended(plane, "BatchJob", spec, "batch/succeeds")


async def batch_is_cancelled(plane: World) -> Any:
    handle = await plane.start("BatchJob", job("sleep", size=6), "batch/cancelled")
    await plane.until(lambda: plane.host.running == 4)
    return await _cancelled(plane, handle)


async def os_is_promoted(plane: World) -> Any:
    """Both faces with AMIs; it stays open, and bakes stand on it."""
    handle = await build(plane, "1", **AMIS)
    await handle.execute_update("promote", {"channel": "stable", "by": "ada"})
    return handle


async def os_did_not_change(plane: World) -> Any:
    plane.builder.lock = "1"
    spec = {**SPEC, **AMIS, "version": "1.1"}
    return await _ended(plane, "OSImageBuild", spec, "os/baseos/1.1")


async def os_is_withdrawn(plane: World) -> Any:
    return await _cancelled(plane, await build(plane, "2", **AMIS, force=True))


async def os_fails(plane: World) -> Any:
    plane.builder.fail_at["build_container"] = BuildFailed("E: no such package")
    spec = {**SPEC, **BOTH, "version": "3", "force": True}
    handle = await _ended(plane, "OSImageBuild", spec, "os/baseos/3")
    plane.builder.fail_at.clear()
    return handle


async def os_is_cancelled_while_it_is_built(plane: World) -> Any:
    plane.builder.stuck_at.add("build_vm")
    plane.builder.steps.clear()
    handle = await start(plane, "4", **AMIS, force=True)
    await until_step(plane, "build_vm")
    await _cancelled(plane, handle)
    plane.builder.stuck_at.clear()
    return handle


async def os_is_displaced_and_rolled_back(plane: World) -> Any:
    plane.builder.lock = None
    first, second = [await build(plane, version, name="rolled") for version in ("1", "2")]
    for handle in (first, second):
        await handle.execute_update("promote", {})
    await until_state(plane, first, "previous")
    await first.execute_update("promote", {"expected": "2", "reason": "2 is broken"})
    await until_state(plane, second, "previous")
    return first


async def os_is_held_and_revoked(plane: World) -> Any:
    handle = await build(plane, "1", name="held", **AMIS)
    for update in ("hold", "unhold", "revoke"):
        await handle.execute_update(update, WHY)
    await handle.result()
    return handle


async def os_is_retired(plane: World) -> Any:
    handle = await build(plane, "1", name="retired", **AMIS)
    await handle.execute_update("retire", WHY)
    await handle.result()
    return handle


async def os_promotes_itself(plane: World) -> Any:
    handle = await start(plane, "1", name="eager", promotion={"automatic": True})
    await until_state(plane, handle, "stable")
    return handle


async def os_plan(plane: World) -> Any:
    return await _ended(plane, "OSImagePlan", SPEC, "ask/plan")


async def os_fixes(plane: World) -> Any:
    return await _ended(plane, "OSFixesAvailable", {"name": "baseos"}, "ask/fixes")


async def os_reproduction(plane: World) -> Any:
    await build(plane, "1", name="again", targets=["container", "vm"])
    return await _ended(
        plane, "OSReproduction", {"name": "again", "pointer": "candidate"}, "ask/again"
    )


async def os_retention(plane: World) -> Any:
    """One is retired by its own workflow, one whose workflow is closed, and one is in use."""
    for version in ("1", "2", "3", "4"):
        handle = await build(plane, version, name="kept", **AMIS)
        if version == "1":
            await handle.execute_update("promote", {})
        if version == "2":
            await handle.execute_update("hold", WHY)
            await _cancelled(plane, handle)
    grow_old(plane, "1", "2", "3", name="kept")
    policy = {"keep": 1, "max_age_days": 30}
    return await _ended(plane, "OSRetention", {"name": "kept", "retention": policy}, "ask/retire")


BAKE = {
    "name": "hello",
    "version": "1.0",
    "base": "baseos:stable",
    "artifacts": [{"type": "tarball", "sha256": "a" * 64, "filename": "hello.tar"}],
}


async def bake_succeeds(plane: World) -> Any:
    with plane.store.write() as session:
        images.save_artifact(session, "a" * 64, "hello.tar", 10, now=datetime.now(UTC))
    return await _ended(plane, "Bake", BAKE, "bake/first")


async def bake_is_answered_from_the_first(plane: World) -> Any:
    return await _ended(plane, "Bake", BAKE, "bake/second")


async def bake_gets_other_metadata(plane: World) -> Any:
    return await _ended(plane, "Bake", {**BAKE, "owner": "me"}, "bake/relabelled")


async def bake_resolves_and_forces(plane: World) -> Any:
    deb = [{"type": "deb", "sha256": "a" * 64, "filename": "hello.deb"}]
    spec = {**BAKE, "name": "debbed", "artifacts": deb, "rebake": True}
    return await _ended(plane, "Bake", spec, "bake/deb")


async def bake_is_a_vm_in_two_regions(plane: World) -> Any:
    ami = {"regions": ["eu-west-1", "us-east-2"], "boot_test": True}
    spec = {**BAKE, "name": "machine", "targets": ["container", "vm"], "ami": ami}
    return await _ended(plane, "Bake", spec, "bake/vm")


MACHINE = {**BAKE, "name": "machine", "targets": ["container", "vm"]}


async def bake_is_answered_and_sent_to_one_more_region(plane: World) -> Any:
    ami = {"regions": ["eu-west-1", "ap-south-1"], "accounts": ["1" * 12], "tags": {"tier": "gold"}}
    return await _ended(plane, "Bake", {**MACHINE, "ami": ami}, "bake/vm-farther")


async def bake_of_a_vm_is_forced(plane: World) -> Any:
    ami = {"regions": ["eu-west-1", "us-east-2"]}
    return await _ended(plane, "Bake", {**MACHINE, "ami": ami, "rebake": True}, "bake/vm-forced")


async def bake_is_joined_for_another_region(plane: World) -> Any:
    plane.builder.stuck_at.add("build_disk")
    ami = {"regions": ["eu-west-1"]}
    spec = {**MACHINE, "name": "shared", "ami": ami}
    begun = plane.builder.steps.count("build_disk")
    handle = await plane.start("Bake", spec, "bake/vm-joined")
    await until_step(plane, "build_disk", begun + 1)
    await handle.signal("join", {**spec, "owner": "me", "ami": {"regions": ["us-east-2"]}})
    plane.builder.stuck_at.clear()
    await handle.result()
    return handle


async def bake_is_distributed_again(plane: World) -> Any:
    with plane.store.read() as session:
        [row] = images.listing(session, name="machine")
    request = {"bake_key": row.bake_key, "region": "us-east-2"}
    return await _ended(plane, "BakeDistribution", request, "bake-region/again")


async def bake_fails_its_test(plane: World) -> Any:
    plane.builder.fail_at["smoke_test"] = SmokeTestFailed("it ended with exit code 1")
    handle = await _ended(plane, "Bake", {**BAKE, "name": "broken"}, "bake/broken")
    plane.builder.fail_at.clear()
    return handle


async def bake_is_cancelled(plane: World) -> Any:
    plane.builder.stuck_at.add("build_layer")
    handle = await plane.start("Bake", {**BAKE, "name": "stopped"}, "bake/stopped")
    await until_step(plane, "build_layer", plane.builder.steps.count("build_layer") + 1)
    cancelled = await _cancelled(plane, handle)
    plane.builder.stuck_at.clear()
    return cancelled


async def bakery_is_swept(plane: World) -> Any:
    return await _ended(plane, "BakerySweep", {"dry_run": False}, "bakery-sweep/1")


async def host_comes_and_goes(plane: World) -> Any:
    spec = {"host_id": HOST, "cpu": 4, "memory": "8GiB"}
    handle = await plane.start("Host", spec, f"host/{HOST}")
    await plane.until(lambda: _watching(handle))
    plane.host.silent = True
    await plane.until(lambda: not plane.host.silent)
    await plane.until(lambda: _watching(handle))
    return await _cancelled(plane, handle)


async def _watching(handle: WorkflowHandle[Any, Any]) -> bool:
    pending = (await handle.describe()).raw_description.pending_activities
    return any(activity.activity_type.name == "hosts.watch" for activity in pending)


async def unknown_type(plane: World) -> Any:
    return await _ended(plane, "ContainerTusk", {}, "unknown")


# In this order: a bake, a question and an unchanged build need the promoted release.
SHAPES: tuple[Shape, ...] = (
    task_succeeds,
    task_retries,
    task_fails,
    task_is_cancelled,
    task_is_killed,
    task_is_evicted,
    task_waits,
    batch_succeeds,
    batch_is_cancelled,
    batch_is_evicted,
    batch_is_held,
    batch_waits_for_others,
    os_is_promoted,
    os_did_not_change,
    os_is_withdrawn,
    os_fails,
    os_is_cancelled_while_it_is_built,
    os_is_displaced_and_rolled_back,
    os_is_held_and_revoked,
    os_is_retired,
    os_promotes_itself,
    os_plan,
    os_fixes,
    os_reproduction,
    os_retention,
    bake_succeeds,
    bake_is_answered_from_the_first,
    bake_gets_other_metadata,
    bake_resolves_and_forces,
    bake_is_a_vm_in_two_regions,
    bake_is_answered_and_sent_to_one_more_region,
    bake_of_a_vm_is_forced,
    bake_is_joined_for_another_region,
    bake_is_distributed_again,
    bake_fails_its_test,
    bake_is_cancelled,
    bakery_is_swept,
    host_comes_and_goes,
    unknown_type,
    *capacity_shapes.SHAPES,
    *errand_shapes.SHAPES,
    *pool_shapes.SHAPES,
    *registry_shapes.SHAPES,
    *regions_shapes.SHAPES,
    *upkeep_shapes.SHAPES,
    *service_shapes.SHAPES,
)


async def record(names: Collection[str] = ()) -> None:
    """Run every shape, or those of these names, and write their histories."""
    HISTORIES.mkdir(exist_ok=True)
    shapes = [shape for shape in SHAPES if not names or shape.__name__ in names]
    with tempfile.TemporaryDirectory() as folder:
        async with world(Path(folder)) as plane:
            for shape in shapes:
                handle = await shape(plane)
                history = await handle.fetch_history()
                path = HISTORIES / f"{shape.__name__}.json"
                path.write_text(history.to_json().replace(f"{ROOT}/", "") + "\n")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1:]))
