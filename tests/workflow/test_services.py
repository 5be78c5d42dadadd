"""``ContainerService`` on a real dev server, with a scripted host."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError

from api.lifecycles import despite_lost_tasks
from fleetwide.errors import ErrorCode
from fleetwide.models.deploys import DeployPhase
from fleetwide.models.hosts import HostState
from fleetwide.models.service_documents import ServiceState
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import events, hosts, service_copies, service_history
from tests.workflow.serving import service, serving, status, until_ready
from tests.workflow.world import HOST, World, world

KILLED = TaskState.KILL_INITIATED
WHY = {"reason": "a test", "by": "ada"}


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as running, serving(running):
        yield running


def live(plane: World) -> list[str]:
    with plane.store.read() as session:
        return sorted(row.task_id for row in service_copies.listing(session, "web"))


async def test_a_service_is_kept_up_scaled_deployed_and_deleted(plane: World) -> None:
    handle = await plane.start("ContainerService", service("sleep"), "service/web")
    await until_ready(plane, handle, 3)
    assert live(plane) == ["web.0.1", "web.1.1", "web.2.1"]

    copy = plane.client.get_workflow_handle("task/web.1.1")
    await copy.execute_update("kill", {"reason": "somebody wants it gone"})
    await plane.until(lambda: "web.1.2" in live(plane))
    await until_ready(plane, handle, 3)

    await handle.execute_update("scale", {"desired": 4, **WHY})
    await until_ready(plane, handle, 4)
    await plane.until(lambda: plane.host.running == 4)

    bad = service("sleep", image="apps/nothing:1")
    await handle.execute_update("deploy", {"spec": bad, "keep": ["capacity"], **WHY})
    told = await until_ready(plane, handle, 4)
    assert told.deploy is not None
    assert told.deploy.phase is DeployPhase.ROLLED_BACK
    assert "apps/nothing:1 is not in the registry" in told.deploy.reason
    assert {one.revision for one in told.by_revision} == {1}

    good = service("sleep", "on")
    await handle.execute_update("deploy", {"spec": good, "keep": ["capacity"], **WHY})
    told = await until_ready(plane, handle, 4)
    assert told.deploy is not None
    assert told.deploy.phase is DeployPhase.SUCCEEDED
    await plane.until(lambda: plane.host.running == 4)

    await handle.execute_update("delete", WHY)
    ended = await handle.result()
    assert ended["state"] == ServiceState.DELETED
    assert (plane.host.running, plane.reserved()) == (0, {})


async def test_of_two_changes_at_once_one_is_a_conflict(plane: World) -> None:
    handle = await plane.start("ContainerService", service("sleep", desired=1), "service/web")
    await until_ready(plane, handle, 1)
    changes = [
        {"spec": service("sleep", desired=1, owner=who), "expected_version": 1, **WHY}
        for who in ("one", "other")
    ]
    answers = await asyncio.gather(
        *(handle.execute_update("deploy", change) for change in changes), return_exceptions=True
    )
    [refused] = [each for each in answers if isinstance(each, WorkflowUpdateFailedError)]
    assert isinstance(refused.cause, ApplicationError)
    assert refused.cause.type == ErrorCode.CONFLICT
    assert (await status(handle)).version == 2
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert (plane.host.running, live(plane)) == (0, [])


async def test_a_copy_moves_and_its_replacement_is_there_first(plane: World) -> None:
    handle = await plane.start("ContainerService", service("sleep", desired=2), "service/web")
    await until_ready(plane, handle, 2)
    move = {"reason": EndReason.HOST_DRAINING, "message": "drained", "index": 0, "host_id": HOST}
    await handle.signal("move", move)
    await plane.until(lambda: live(plane) == ["web.1.1", "web.2.1"])
    await until_ready(plane, handle, 2)
    assert numbers(plane, "web.2.1")[TaskState.STARTED] < numbers(plane, "web.0.1")[KILLED]
    with plane.store.read() as session:
        gone = service_copies.find(session, "web.0.1")
        assert gone is not None
        assert gone.reason == EndReason.HOST_DRAINING
    await handle.execute_update("delete", WHY)
    await handle.result()


def numbers(plane: World, task_id: str) -> dict[str, int]:
    """By state of a task the number of the event that tells of it."""
    with plane.store.read() as session:
        told = events.latest(session, "state", subject=f"task/{task_id}", limit=20)
        return {str(row.data["state"]): row.seq or 0 for row in told}


async def test_copies_of_a_silent_host_are_replaced_at_once_and_not_doubled_when_it_is_back(
    plane: World,
) -> None:
    handle = await plane.start("ContainerService", service("sleep", desired=2), "service/web")
    await until_ready(plane, handle, 2)
    stand(plane, HostState.DISCONNECTED)
    await plane.until(lambda: len(live(plane)) == 4)
    stand(plane, HostState.ACTIVE)
    # Which two stay depends on whether the later ones had a host before the service looked.
    await plane.until(lambda: len(live(plane)) == 2 and plane.host.running == 2)
    await handle.execute_update("delete", WHY)
    await handle.result()


def stand(plane: World, state: HostState) -> None:
    with plane.store.write() as session:
        row = hosts.find_locked(session, HOST)
        assert row is not None
        hosts.set_state(session, row, state, now=datetime.now(UTC))


async def scaled_to(handle: WorkflowHandle[Any, Any], **change: int) -> None:
    """As the API sends updates: again when one went down with its workflow task."""
    update_id = str(uuid4())

    async def execute() -> Any:
        return await handle.execute_update("scale", {**change, **WHY}, id=update_id)

    await despite_lost_tasks(execute)


async def test_nothing_is_lost_when_the_history_begins_anew(tmp_path: Path) -> None:
    few = ("limit.historyCount.suggestContinueAsNew=40",)
    async with world(tmp_path, dynamic=few) as plane, serving(plane):
        handle = await plane.start("ContainerService", service("sleep", desired=2), "service/web")
        await until_ready(plane, handle, 2)
        first = (await handle.describe()).run_id
        newest = plane.client.get_workflow_handle("service/web")
        for turn in range(20):
            await asyncio.gather(
                scaled_to(newest, max=10 + turn),
                newest.signal("move", {"message": f"turn {turn}", "index": turn}),
            )
        await scaled_to(newest, desired=3)
        told = await until_ready(plane, newest, 3)
        assert told.capacity.max == 29
        assert (await newest.describe()).run_id != first
        await plane.until(lambda: plane.host.running == 3)
        with plane.store.read() as session:
            done = service_history.activities(session, "web", limit=200)
            moved = {row.reason for row in done if row.kind == "move"}
            scaled = [row for row in done if row.kind == "scale"]
        assert len(scaled) == 21
        assert "turn 0" in moved
        await newest.execute_update("delete", WHY)
        await plane.until(lambda: not live(plane))


async def test_a_service_whose_workflow_was_terminated_begins_again(plane: World) -> None:
    handle = await plane.start("ContainerService", service("sleep", desired=2), "service/web")
    await until_ready(plane, handle, 2)
    await handle.terminate()
    copy = plane.client.get_workflow_handle("task/web.0.1")
    await copy.execute_update("kill", {"reason": "its service is not there"})
    await plane.until(lambda: live(plane) == ["web.0.2", "web.1.1"])
    newest = plane.client.get_workflow_handle("service/web")
    await until_ready(plane, newest, 2)
    await newest.execute_update("delete", WHY)
    await newest.result()
