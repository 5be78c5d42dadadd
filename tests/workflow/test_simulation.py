"""Simulated hosts in a control plane: they register, run scripted tasks, and leave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.client import WorkflowFailureError, WorkflowHandle

from activities import tries
from fleetwide.containers.scenarios import SIMULATE
from fleetwide.containers.simulated_fleet import SimulatedFleet
from fleetwide.models.hosts import HostState, RunProgress
from fleetwide.providers.simulated_state import SimulatedState
from fleetwide.settings import Settings
from fleetwide.store import hosts
from tests.workflow.world import HOST, World, task
from workers import simulation
from workers.process import Process

FLEET = SimulatedFleet(count=6, prefix="load", scenario="run=0s log=2", leave=True)


@asynccontextmanager
async def simulated(
    plane: World, folder: Path, fleet: SimulatedFleet = FLEET
) -> AsyncIterator[None]:
    """The fleet beside the plane's own host; told to stop afterwards."""
    settings = Settings(state_dir=folder, object_store_url=f"file:{folder / 'objects'}")
    process = Process(settings, plane.client, asyncio.Event())
    serving = asyncio.create_task(simulation.serve(fleet, process))
    try:
        await plane.until(lambda: list(states(plane).values()) == [HostState.ACTIVE] * fleet.count)
        yield
    finally:
        process.stop.set()
        await serving


def states(plane: World) -> dict[str, str]:
    with plane.store.read() as session:
        return {row.host_id: row.state for row in hosts.listing(session) if row.host_id != HOST}


def drill(scenario: str, **more: Any) -> dict[str, Any]:
    spec = task(**more)
    spec["container"] |= {
        "env": {SIMULATE: scenario},
        "constraints": {"tolerations": ["simulated"], "hard": {"label": {"simulated": "true"}}},
    }
    return spec


async def test_they_register_run_what_is_scripted_and_leave(plane: World, tmp_path: Path) -> None:
    async with simulated(plane, tmp_path):
        well = await plane.start("ContainerTask", drill("pull=100ms"), "task/well")
        result = await well.result()
        assert (result["exit_code"], result["attempts"]) == (0, 1)
        assert result["host_id"].startswith("load-000")
        assert len(result["last_lines"]) == 2
        badly = await plane.start("ContainerTask", drill("oom"), "task/badly")
        try:
            await badly.result()
        except WorkflowFailureError as error:
            assert "oomKilled" in str(error.cause)
        else:
            raise AssertionError("the task ended well")
        plain = await plane.start("ContainerTask", task("exit", "0"), "task/plain")
        assert (await plain.result())["host_id"] == HOST
    await plane.until(lambda: set(states(plane).values()) == {HostState.REMOVED})
    state = SimulatedState(tmp_path / "simulated" / "load.db")
    assert len(state.starts()) == 2
    assert not any(state.containers(host.host_id) for host in FLEET.hosts())
    state.close()


async def test_a_kill_reaches_a_simulated_container(plane: World, tmp_path: Path) -> None:
    async with simulated(plane, tmp_path):
        handle = await plane.start("ContainerTask", drill("run=forever"), "task/long")
        state = SimulatedState(tmp_path / "simulated" / "load.db")
        await plane.until(state.starts)
        await plane.kill(handle, "enough")
        assert (await handle.result())["reason"] == "killed"
        assert not any(state.containers(host.host_id) for host in FLEET.hosts())
        state.close()


async def test_restarts_of_a_worker_do_not_end_what_runs(
    plane: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a failed try for Temporal; with one try allowed in vain none of them may count."""
    monkeypatch.setattr(tries, "MOST_IN_VAIN", 1)
    fleet = FLEET.model_copy(update={"count": 1, "leave": False})
    handle = await plane.start("ContainerTask", drill("run=forever"), "task/long")
    for restart in range(2):
        async with simulated(plane, tmp_path, fleet):
            await plane.until(lambda least=restart: held(handle, least + 1))
    async with simulated(plane, tmp_path, fleet):
        await plane.until(lambda: held(handle, 3))
        await plane.kill(handle, "enough")
    assert (await handle.result())["attempts"] == 1
    events = [event.event_type async for event in handle.fetch_history_events()]
    scheduled = events.count(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    assert scheduled == 2  # its placement, and one run of all tries
    state = SimulatedState(tmp_path / "simulated" / "load.db")
    assert len(state.starts()) == 1
    state.close()


async def held(handle: WorkflowHandle[Any, Any], least: int) -> bool:
    """Whether a host is at so many tries of it, and this one has said that it has the container."""
    return any(
        one.attempt >= least
        and one.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
        and one.last_heartbeat_time.ToDatetime() > one.last_started_time.ToDatetime()
        and RunProgress.model_validate_json(one.heartbeat_details.payloads[0].data).container_id
        for one in (await handle.describe()).raw_description.pending_activities
        if one.heartbeat_details.payloads
    )
