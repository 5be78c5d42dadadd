"""Devices and ports from the spec over placement to the input of the host, and back to be free."""

from datetime import UTC, datetime
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.converter import DataConverter

from fleetwide.models.containers import RunContainer
from fleetwide.models.hosts import HostSpec
from fleetwide.store import hosts
from tests.workflow.world import HOST, World, task

DEVICES = ["/dev/fuse", "GPU-1"]


def with_devices(plane: World) -> None:
    spec = {"host_id": HOST, "cpu": 4, "memory": "8GiB", "gpus": DEVICES}
    with plane.store.write() as session:
        hosts.register(session, HostSpec.model_validate(spec), now=datetime.now(UTC))


def asking(*command: str, **resources: Any) -> dict[str, Any]:
    spec = task(*command)
    spec["container"]["resources"] |= resources
    return spec


async def run_input(plane: World, handle: WorkflowHandle[Any, Any]) -> RunContainer | None:
    converter: DataConverter = plane.client.data_converter
    async for event in handle.fetch_history_events():
        scheduled = event.activity_task_scheduled_event_attributes
        if scheduled.activity_type.name == "hosts.run_container":
            [found] = await converter.decode(scheduled.input.payloads, [RunContainer])
            assert isinstance(found, RunContainer)
            return found
    return None


async def test_a_task_gets_the_devices_and_ports_of_its_attempt(plane: World) -> None:
    with_devices(plane)
    wanted = {"gpus": 2, "ports": {"http": {"to": 80}, "fixed": {"static": 9000}}}
    first = await plane.start("ContainerTask", asking("sleep", **wanted), "task/first")
    run = await plane.until(lambda: run_input(plane, first))
    assert sorted(run.devices) == sorted(DEVICES)
    assert run.ports["fixed"] == 9000
    assert 20_000 <= run.ports["http"] <= 32_000

    second = await plane.start("ContainerTask", asking("exit", "0", gpus=1), "task/second")

    async def why() -> str | None:
        waiting = (await second.query("status"))["waiting"]
        return waiting["sentence"] if waiting else None

    assert "1 GPU" in await plane.until(why)
    await plane.kill(first, "enough")
    await second.result()
    later = await run_input(plane, second)
    assert later is not None
    assert len(later.devices) == 1
