"""Copies that move between services, and kills of copies, on a real dev server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from fleetwide.errors import ErrorCode
from fleetwide.models.service_documents import ServiceWait
from fleetwide.models.service_moves import TaskMove
from fleetwide.models.service_turns import ServiceChange
from fleetwide.models.task_states import EndReason
from fleetwide.store import service_changes, service_copies
from tests.workflow.serving import service, serving, until_ready
from tests.workflow.world import World, world

WHY = {"reason": "a test", "by": "ada"}


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as running, serving(running):
        yield running


def live(plane: World, name: str) -> list[str]:
    with plane.store.read() as session:
        return sorted(row.task_id for row in service_copies.listing(session, name))


async def test_a_copy_moves_once_though_two_ask_and_ends_where_it_was_moved_to(
    plane: World,
) -> None:
    web = await plane.start("ContainerService", service("sleep", desired=2), "service/web")
    other = await plane.start("ContainerService", service("sleep", desired=1), "service/other")
    await until_ready(plane, web, 2)
    await until_ready(plane, other, 1)
    move = {"task_id": "web.1.1", "to": "other", **WHY}
    answers = await asyncio.gather(
        *(web.execute_update("move_task", move) for _ in range(2)), return_exceptions=True
    )
    [refused] = [each for each in answers if isinstance(each, WorkflowUpdateFailedError)]
    assert isinstance(refused.cause, ApplicationError)
    assert refused.cause.type == ErrorCode.CONFLICT
    await until_ready(plane, other, 2)
    await until_ready(plane, web, 1)
    assert (live(plane, "web"), plane.host.running) == (["web.0.1"], 3)

    # The end of the task is told to the service that has it now.
    copy = plane.client.get_workflow_handle("task/web.1.1")
    told = await copy.execute_update("kill", {"reason": "it leaks"})
    assert told["waiting"]["code"] == ServiceWait.STOPPING
    ended = await copy.result()
    assert (ended["reason"], ended["message"]) == (EndReason.KILLED, "it leaks")
    await plane.until(lambda: live(plane, "other") == ["other.0.1", "other.1.2"])
    assert live(plane, "web") == ["web.0.1"]
    await other.execute_update("delete", WHY)
    await other.result()
    assert plane.host.running == 1
    await web.execute_update("delete", WHY)
    await web.result()


async def test_a_move_whose_teller_was_killed_is_told_by_the_scheduler(plane: World) -> None:
    """It is written down, and no workflow has heard of it: events bring both to rest."""
    web = await plane.start("ContainerService", service("sleep", desired=2), "service/web")
    other = await plane.start("ContainerService", service("sleep", desired=0), "service/other")
    await until_ready(plane, web, 2)
    await until_ready(plane, other, 0)
    move = TaskMove(task_id="web.0.1", to="other", reason="a test")
    argument = move.model_dump(mode="json")
    asked = ServiceChange(service_id="web", name="move_task", argument=argument)
    with plane.store.write() as session:
        service_changes.change(session, asked, datetime.now(UTC))
    await until_ready(plane, other, 1)
    await until_ready(plane, web, 1)
    assert (live(plane, "web"), live(plane, "other")) == (["web.1.1"], ["web.0.1"])
    kill = plane.client.get_workflow_handle("task/web.0.1").execute_update
    await kill("kill", {"reason": "at once", "now": True})
    await plane.until(lambda: live(plane, "other") == ["other.0.2"])
    for handle in (web, other):
        await handle.execute_update("delete", WHY)
        await handle.result()
    assert (plane.host.running, plane.reserved()) == (0, {})
