"""``Host``: its watch activity is the failure detector."""

from typing import Any

from temporalio.client import WorkflowExecutionStatus

from fleetwide.store import hosts
from tests.workflow.world import HOST, World, task

SPEC = {"host_id": HOST, "cpu": 4, "memory": "8GiB"}


def row(plane: World) -> tuple[str, int]:
    with plane.store.read() as session:
        [found] = hosts.listing(session)
        return found.state, found.cpu_milli


async def test_a_host_registers_goes_silent_comes_back_and_is_removed(plane: World) -> None:
    handle = await plane.start("Host", SPEC, f"host/{HOST}")
    await plane.until(lambda: row(plane) == ("Active", 4000))
    plane.host.silent = True

    async def events() -> list[str]:
        history = await handle.fetch_history()
        names = [
            event.activity_task_scheduled_event_attributes.activity_type.name
            for event in history.events
        ]
        return [name for name in names if name]

    async def came_back() -> bool:
        return (await events()).count("containers.register_host") == 2

    await plane.until(came_back)
    assert "containers.disconnect_host" in await events()
    await plane.until(lambda: row(plane)[0] == "Active")
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert row(plane)[0] == "Removed"


async def test_a_worker_that_starts_again_tells_what_it_offers_now(plane: World) -> None:
    handle = await plane.start("Host", SPEC, f"host/{HOST}")
    await plane.until(lambda: row(plane)[1] == 4000)
    await handle.signal("offers", {**SPEC, "cpu": 1})
    plane.host.silent = True
    await plane.until(lambda: row(plane) == ("Active", 1000))


async def test_a_removed_host_gets_no_work(plane: World) -> None:
    host = await plane.start("Host", SPEC, f"host/{HOST}")
    await plane.until(lambda: row(plane) == ("Active", 4000))
    await host.cancel()
    await plane.until_status(host, WorkflowExecutionStatus.CANCELED)
    handle = await plane.start("ContainerTask", task("exit", "0"), "task/nowhere")

    async def code() -> Any:
        waiting = (await handle.query("status"))["waiting"]
        return waiting["code"] if waiting else None

    assert await plane.until(code) == "noHosts"
    assert plane.host.runs == []
