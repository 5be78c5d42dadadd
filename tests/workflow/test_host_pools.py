"""``HostPool`` over machines that a script starts: it grows, shrinks, replaces and ends."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateFailedError

from api.lifecycles import despite_lost_tasks
from fleetwide.models.disturbances import Cause
from fleetwide.models.hosts import HostState
from fleetwide.models.pools import PoolEnd, PoolStatus
from fleetwide.models.task_states import EndReason
from fleetwide.store import jobs, pools
from fleetwide.store.tables import EventRow, HostRow
from tests.workflow.pool_machines import ScriptedMachines, scripted_machines
from tests.workflow.world import task


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[ScriptedMachines]:
    async with scripted_machines(tmp_path) as running:
        yield running


def joined(fleet: ScriptedMachines) -> list[str]:
    with fleet.plane.store.read() as session:
        live = pools.machines_of(session, "p", ended_too=0)
        return sorted(one.row.machine_id for one in live if one.host_state == HostState.ACTIVE)


def ends(fleet: ScriptedMachines) -> dict[str, str | None]:
    with fleet.plane.store.read() as session:
        found = pools.machines_of(session, "p")
        return {one.row.machine_id: one.row.end for one in found if one.row.ended_at}


async def status(handle: WorkflowHandle[Any, Any]) -> PoolStatus:
    return PoolStatus.model_validate(await handle.query("status"))


async def test_a_pool_is_sized_by_hand_and_deleted(fleet: ScriptedMachines) -> None:
    handle = await fleet.begin(desired=2, scale=False)
    await fleet.plane.until(lambda: len(joined(fleet)) == 2)
    await handle.execute_update("scale", {"desired": 1, "reason": "enough", "by": "ana"})
    await fleet.plane.until(lambda: len(joined(fleet)) == 1 and len(ends(fleet)) == 1)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update("scale", {"desired": 9, "reason": "more"})
    assert "max is 3" in str(refused.value.cause)
    await handle.execute_update("delete", {"reason": "over"})
    result = PoolStatus.model_validate(await handle.result())
    assert (result.machines, result.deleting) == (0, True)
    assert fleet.machines == {}
    assert set(ends(fleet).values()) == {PoolEnd.DRAINED}
    assert len(fleet.tokens) == 1


async def test_waiting_work_brings_a_machine_and_it_goes_again(fleet: ScriptedMachines) -> None:
    handle = await fleet.begin(empty_after_seconds=10)
    spec = task("sleep")
    spec["container"]["host_labels"] = {"pool": "p"}
    work = await fleet.plane.start("ContainerTask", spec, "task/for-the-pool")
    await fleet.plane.until(lambda: joined(fleet) == ["m-0"])
    assert (await status(handle)).desired == 1
    kill = {"reason": "enough seen"}
    await despite_lost_tasks(lambda: work.execute_update("kill", kill, id="the-kill"))
    await fleet.plane.until(lambda: ends(fleet) == {"m-0": PoolEnd.DRAINED})
    assert (await status(handle)).desired == 0
    await handle.execute_update("delete", {"reason": "over"})
    await handle.result()


async def test_machines_that_never_join_are_ended_and_told(fleet: ScriptedMachines) -> None:
    fleet.dead = True
    handle = await fleet.begin(desired=1, register_within_seconds=10)
    await fleet.plane.until(lambda: fleet.machines)
    for machine_id, one in list(fleet.machines.items()):
        old = datetime.now(UTC) - timedelta(hours=1)
        fleet.machines[machine_id] = one.model_copy(update={"launched_at": old})
    await fleet.plane.until(lambda: ends(fleet) == {"m-0": PoolEnd.NEVER_REGISTERED})

    def told() -> bool:
        with fleet.plane.store.read() as session:
            return "did not join" in pools.get(session, "p").message

    await fleet.plane.until(told)
    assert fleet.machines == {}
    await handle.cancel()
    await fleet.plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


async def test_a_refusal_of_the_provider_is_told(fleet: ScriptedMachines) -> None:
    fleet.short = True
    handle = await fleet.begin(desired=1)

    async def told() -> bool:
        return "no more of these" in (await status(handle)).message

    await fleet.plane.until(told)
    fleet.short = False
    await handle.execute_update("scale", {"desired": 2, "reason": "there are some again"})
    await fleet.plane.until(lambda: len(joined(fleet)) == 2)
    await handle.cancel()
    await fleet.plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert fleet.machines == {}


async def test_a_machine_that_vanished_is_replaced(fleet: ScriptedMachines) -> None:
    handle = await fleet.begin(desired=1, scale=False)
    await fleet.plane.until(lambda: joined(fleet) == ["m-0"])
    grow_old(fleet)
    fleet.machines.pop("m-0")
    fleet.joining["m-0"].ended.set()
    await fleet.plane.until(lambda: joined(fleet) == ["m-1"])
    assert ends(fleet) == {"m-0": PoolEnd.VANISHED}
    await handle.execute_update("delete", {"reason": "over"})
    await handle.result()


async def test_what_ran_on_a_machine_that_is_off_runs_elsewhere_at_once(
    fleet: ScriptedMachines,
) -> None:
    """Its disconnect policy would have it wait for ten minutes."""
    handle = await fleet.begin(desired=1, scale=False)
    await fleet.plane.until(lambda: joined(fleet) == ["m-0"])
    work = await fleet.plane.start("ContainerTask", in_pool(), "task/moves")
    await fleet.plane.until(lambda: fleet.joining["m-0"].runs)
    grow_old(fleet)
    fleet.machines.pop("m-0")
    fleet.joining["m-0"].ended.set()
    await fleet.plane.until(lambda: "m-1" in fleet.joining and fleet.joining["m-1"].runs)
    with fleet.plane.store.read() as session:
        job = jobs.find(session, "task/moves")
        assert job is not None
        [first, _] = jobs.attempts(session, job.id or 0)
        host = session.get(HostRow, "m-0")
        assert host is not None
        assert (first.reason, host.state) == (EndReason.LOST, HostState.REMOVED)
        assert "m-0 is gone" in (first.message or "")
    await work.cancel()
    await handle.cancel()
    await fleet.plane.until_status(work, WorkflowExecutionStatus.CANCELED)
    await fleet.plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


async def test_an_old_host_is_replaced_then_emptied_then_ended(fleet: ScriptedMachines) -> None:
    rotation = {"max_age_seconds": 600}
    handle = await fleet.begin(desired=1, scale=False, rotation=rotation)
    await fleet.plane.until(lambda: joined(fleet) == ["m-0"])
    spec = in_pool()
    spec["disruption_budget"] = {"policy": {"self_managed": {"relocation_seconds": 0}}}
    work = await fleet.plane.start("ContainerTask", spec, "task/rotates")
    await fleet.plane.until(lambda: fleet.joining["m-0"].runs)
    born = datetime.now(UTC) - timedelta(hours=1)
    fleet.machines["m-0"] = fleet.machines["m-0"].model_copy(update={"launched_at": born})
    await fleet.plane.until(lambda: "m-1" in fleet.joining and fleet.joining["m-1"].runs)
    await fleet.plane.until(lambda: ends(fleet) == {"m-0": PoolEnd.DRAINED})
    assert joined(fleet) == ["m-1"]
    with fleet.plane.store.read() as session:
        [told] = [
            one
            for one in session.exec(select(EventRow).where(EventRow.subject == "task/rotates"))
            if one.kind == "disruption"
        ]
        assert "older than 10 minutes" in told.message
        assert told.data["cause"] == Cause.ROTATION
        reasons = {one.row.machine_id: one.row.rotates for one in pools.machines_of(session, "p")}
        assert reasons == {"m-0": "it is older than 10 minutes", "m-1": ""}
    for one in (work, handle):
        await one.cancel()
        await fleet.plane.until_status(one, WorkflowExecutionStatus.CANCELED)


def in_pool() -> dict[str, Any]:
    spec = task("sleep")
    spec["container"]["host_labels"] = {"pool": "p"}
    return spec


def grow_old(fleet: ScriptedMachines) -> None:
    """A machine that is not listed counts as gone only some minutes after its start."""
    with fleet.plane.store.write() as session:
        row = pools.machines_of(session, "p")[0].row
        row.launched_at = datetime.now(UTC) - timedelta(minutes=10)
        session.add(row)
