"""What people want of hosts: updates of ``Host``, kept in SQL with who and why."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from fleetwide.models.hosts import HostSpec, HostState
from fleetwide.models.task_states import EndReason
from fleetwide.store import events, hosts, jobs, standings
from fleetwide.store.tables import AttemptRow, HostRow
from tests.workflow.world import HOST, World, task, world

SPEC = {"host_id": HOST, "cpu": 4, "memory": "8GiB"}
WHY = {"by": "ana", "reason": "its disk fails"}
AT_ONCE: dict[str, Any] = {
    "disruption_budget": {"policy": {"self_managed": {"relocation_seconds": 0}}}
}


def state(plane: World, host_id: str = HOST) -> str:
    with plane.store.read() as session:
        row = session.get(HostRow, host_id)
        return row.state if row else ""


def told(plane: World, subject: str) -> list[str]:
    with plane.store.read() as session:
        return [event.message for event in events.after(session, 0, subject=subject)]


def attempts(plane: World, workflow_id: str) -> list[AttemptRow]:
    with plane.store.read() as session:
        row = jobs.find(session, workflow_id)
        return list(jobs.attempts(session, row.id or 0)) if row else []


async def active(plane: World) -> WorkflowHandle[Any, Any]:
    handle = await plane.start("Host", SPEC, f"host/{HOST}")

    async def is_active() -> bool:
        return bool((await handle.query("status"))["state"] == "Active")

    await plane.until(is_active)
    return handle


async def test_a_cordoned_host_takes_no_work_until_it_is_uncordoned(plane: World) -> None:
    host = await active(plane)
    told_now = await host.execute_update("cordon", WHY)
    assert (told_now["state"], told_now["by"], told_now["reason"]) == ("Inactive", *WHY.values())
    handle = await plane.start("ContainerTask", task("exit", "0"), "task/waits")

    async def waits() -> Any:
        return (await handle.query("status"))["waiting"]

    assert (await plane.until(waits))["code"] == "noHosts"
    await host.execute_update("uncordon", {**WHY, "reason": "mended"})
    assert (await handle.result())["reason"] == "normal"
    said = told(plane, f"host/{HOST}")
    assert "Inactive is wanted by ana: its disk fails" in said
    assert "host is Inactive" in said
    assert said[-2:] == ["Active is wanted by ana: mended", "host is Active"]


async def test_a_host_that_comes_back_is_what_was_wanted(plane: World) -> None:
    host = await active(plane)
    await host.execute_update("cordon", WHY)
    plane.host.silent = True

    async def was_silent() -> bool:
        said = told(plane, f"host/{HOST}")
        return "host is Disconnected" in said and said[-1] == "host is Inactive"

    await plane.until(was_silent)
    assert state(plane) == HostState.INACTIVE


async def test_a_phased_out_host_is_used_where_there_is_no_other(plane: World) -> None:
    host = await active(plane)
    await host.execute_update("phase_out", WHY)
    assert state(plane) == HostState.PHASED_OUT
    handle = await plane.start("ContainerTask", task("exit", "0"), "task/only")
    assert (await handle.result())["host_id"] == HOST


async def test_a_drained_host_is_removable_and_its_tasks_run_again(plane: World) -> None:
    host = await active(plane)
    handle = await plane.start("ContainerTask", task("sleep", **AT_ONCE), "task/moved")
    await plane.until(lambda: plane.host.running)
    await host.execute_update("drain", {**WHY, "parallel": 1})
    await plane.until(lambda: state(plane) == HostState.REMOVABLE)
    [first, *_] = attempts(plane, "task/moved")
    assert first.reason == EndReason.HOST_DRAINING
    assert first.message == f"host {HOST} is drained: its disk fails"
    assert plane.reserved() == {}
    status = await host.query("status")
    assert (status["drain"]["left"], status["drain"]["ended"]) == (0, 1)
    await host.execute_update("uncordon", WHY)
    await plane.until(lambda: plane.host.running)
    assert len(attempts(plane, "task/moved")) == 2
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


async def test_only_an_empty_host_leaves_the_fleet(plane: World) -> None:
    host = await active(plane)
    handle = await plane.start("ContainerTask", task("sleep"), "task/stays")
    await plane.until(lambda: plane.host.running)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await host.execute_update("remove", WHY)
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.message == f"1 tasks are on host {HOST}"
    with pytest.raises(WorkflowUpdateFailedError):
        await host.execute_update("remove", {**WHY, "force": True})
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert (await host.execute_update("remove", WHY))["state"] == "Removed"
    await host.result()
    assert state(plane) == HostState.REMOVED


@pytest.mark.parametrize("argument", [{}, {"reason": ""}, {"reason": "x", "when": "now"}, None])
async def test_a_move_without_a_reason_is_refused(plane: World, argument: Any) -> None:
    host = await active(plane)
    with pytest.raises(WorkflowUpdateFailedError):
        await host.execute_update("cordon", argument)
    assert state(plane) == HostState.ACTIVE


async def test_the_same_move_twice_is_a_conflict(plane: World) -> None:
    host = await active(plane)
    await host.execute_update("cordon", WHY)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await host.execute_update("cordon", WHY)
    assert isinstance(refused.value.cause, ApplicationError)
    assert (refused.value.cause.type, refused.value.cause.message) == (
        "Conflict",
        "the host is Inactive already",
    )


async def test_moves_that_come_together_are_made_one_after_the_other(plane: World) -> None:
    host = await active(plane)
    moves = [host.execute_update("drain", WHY) for _ in range(3)]
    ended = await asyncio.gather(*moves, return_exceptions=True)
    refused = [one for one in ended if isinstance(one, WorkflowUpdateFailedError)]
    assert len(refused) == 2
    await plane.until(lambda: state(plane) == HostState.REMOVABLE)
    assert told(plane, f"host/{HOST}").count("Inactive is wanted by ana: its disk fails") == 1


async def test_a_drain_that_runs_can_only_be_made_sooner(plane: World) -> None:
    host = await active(plane)
    handle = await plane.start("ContainerTask", task("stubborn", **AT_ONCE), "task/stubborn")
    await plane.until(lambda: plane.host.running)
    await host.execute_update("drain", {**WHY, "deadline_seconds": 3600})
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await host.execute_update("drain", {**WHY, "deadline_seconds": 3600, "force": True})
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "Conflict"
    taken_back = {"by": "EC2", "reason": "taken back", "deadline_seconds": 1}
    assert (await host.execute_update("drain", taken_back))["by"] == "EC2"

    async def gave_up() -> bool:
        return bool((await host.query("status"))["message"] == "the drain gave up after 1 s")

    await plane.until(gave_up)
    plane.host.stubborn.set()
    await plane.until(lambda: attempts(plane, "task/stubborn")[0].reason is not None)
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


async def test_a_cordon_that_comes_with_the_registration_counts(plane: World) -> None:
    host = await plane.client.start_workflow(
        "Host", SPEC, id=f"host/{HOST}", task_queue="control", start_signal="offers",
        start_signal_args=[SPEC],
    )  # fmt: skip
    await host.execute_update("cordon", WHY)

    async def is_inactive() -> bool:
        told_now = await host.query("status")
        return (told_now["state"], told_now["wanted"]) == ("Inactive", "Inactive")

    await plane.until(is_inactive)
    assert state(plane) == HostState.INACTIVE


async def test_a_new_run_of_a_silent_host_knows_what_is_wanted_of_it(plane: World) -> None:
    standing = {
        "host_id": "gone", "state": "Disconnected", "wanted": "Inactive", **WHY,
    }  # fmt: skip
    with plane.store.write() as session:
        row = hosts.register(
            session,
            HostSpec.model_validate({**SPEC, "host_id": "gone"}),
            now=datetime.now(UTC),
        )
        standings.falls_silent(session, row, now=datetime.now(UTC) - timedelta(hours=1))
    host = await plane.client.start_workflow(
        "Host", {**SPEC, "host_id": "gone"}, id="host/gone", task_queue="control",
        memo={"standing": standing},
    )  # fmt: skip

    async def is_lost() -> bool:
        return bool((await host.query("status"))["state"] == "Lost")

    await plane.until(is_lost)
    assert (await host.query("status"))["wanted"] == "Inactive"
    assert (await host.execute_update("uncordon", WHY))["wanted"] == "Active"
    assert (await host.execute_update("remove", {**WHY, "force": True}))["state"] == "Removed"
    await host.result()


async def test_what_is_wanted_goes_from_run_to_run(tmp_path: Path) -> None:
    few = ("limit.historyCount.suggestContinueAsNew=25",)
    async with world(tmp_path, dynamic=few) as plane:
        host = await active(plane)
        first = (await host.describe()).run_id
        await host.execute_update("cordon", WHY)

        async def is_another_run() -> bool:
            plane.host.silent = True
            return (await host.describe()).run_id != first

        await plane.until(is_another_run)
        memo = await (await host.describe()).memo()
        standing = {key: memo["standing"][key] for key in ("wanted", "by", "reason")}
        assert standing == {"wanted": "Inactive", **WHY}
