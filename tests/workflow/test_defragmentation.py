"""Defragmentation on hosts of a script: a host is emptied through the gate and takes work again."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select
from temporalio.client import WorkflowExecutionStatus

from fleetwide.models.disturbances import Cause
from fleetwide.settings import Settings
from fleetwide.store import clock, defragmentation
from fleetwide.store.tables import AttemptRow, EventRow, HostRow
from tests.workflow.pool_machines import ScriptedMachines, scripted_machines
from tests.workflow.world import task
from workers.defragmenting import Defragmenter

AT_ONCE = {"policy": {"self_managed": {"relocation_seconds": 0}}}
NEVER = {"policy": {"relocation_limit": {"times": 0}}}
SETTINGS = Settings(defragmentation=True, defragmentation_seconds=1)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[ScriptedMachines]:
    async with scripted_machines(tmp_path) as running:
        yield running


def where(fleet: ScriptedMachines) -> dict[str, str]:
    """Each host's state, with how many tasks it has."""
    with fleet.plane.store.read() as session:
        hosts = {row.host_id: row.state for row in session.exec(select(HostRow))}
        held = session.exec(select(AttemptRow.host_id).where(col(AttemptRow.reserved).is_(True)))
        tasks = list(held)
    return {
        name: f"{state} {tasks.count(name)}" for name, state in hosts.items() if name[:2] == "m-"
    }


async def spread(fleet: ScriptedMachines, budget: dict[str, Any]) -> list[Any]:
    """A task on each of two hosts that have room for both."""
    spec = task("sleep")
    spec["container"]["host_labels"] = {"pool": "p"}
    spec["disruption_budget"] = budget
    plane = fleet.plane
    pool = await fleet.begin(desired=2, scale=False)
    await plane.until(lambda: list(where(fleet).values()) == ["Active 0"] * 2)
    first = await plane.start("ContainerTask", spec, "task/a")
    await plane.until(lambda: "Active 1" in where(fleet).values())
    [taken] = [host for host, found in where(fleet).items() if found == "Active 1"]
    host = plane.client.get_workflow_handle(f"host/{taken}")
    await host.execute_update("cordon", {"reason": "the next one goes elsewhere"})
    second = await plane.start("ContainerTask", spec, "task/b")
    await plane.until(lambda: sorted(where(fleet).values()) == ["Active 1", "Inactive 1"])
    await host.execute_update("uncordon", {"reason": "both are there"})
    await plane.until(lambda: all(one.runs for one in fleet.joining.values()))
    return [first, second, pool]


async def end(fleet: ScriptedMachines, handles: list[Any]) -> None:
    for one in handles:
        await one.cancel()
    for one in handles:
        await fleet.plane.until_status(one, WorkflowExecutionStatus.CANCELED)


async def test_a_host_is_emptied_and_takes_work_again(fleet: ScriptedMachines) -> None:
    handles = await spread(fleet, AT_ONCE)
    turns = Defragmenter(SETTINGS, fleet.plane.store, fleet.plane.client)

    async def packed() -> bool:
        await turns.turn()
        return sorted(where(fleet).values()) == ["Active 0", "Active 2"]

    await fleet.plane.until(packed)
    rules = defragmentation.rules_of(SETTINGS)
    with fleet.plane.store.read() as session:
        told = [row for row in session.exec(select(EventRow)) if row.kind == "disruption"]
        assert [one.data["cause"] for one in told] == [Cause.DEFRAGMENTATION]
        seen = defragmentation.next_round(session, rules, now=clock.now(session))
        found = defragmentation.document(session, seen, rules)
    assert (found.host_id, found.used, found.under_way) == (None, 1, "")
    await end(fleet, handles)


async def test_what_a_budget_keeps_is_told_and_stays(fleet: ScriptedMachines) -> None:
    handles = await spread(fleet, NEVER)
    rules = defragmentation.rules_of(SETTINGS)
    with fleet.plane.store.read() as session:
        seen = defragmentation.next_round(session, rules, now=clock.now(session))
        found = defragmentation.document(session, seen, rules)
    assert found.host_id is None
    assert len(found.kept) == 2
    assert all("may be 0 times" in one.sentence for one in found.kept)
    await end(fleet, handles)
