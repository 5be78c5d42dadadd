"""Control workers of one build after another, with services, a host and tasks running."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.client import WorkflowHandle
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import Worker

from api.lifecycles import despite_lost_tasks
from fleetwide.models.hosts import HostState
from fleetwide.models.task_states import EndReason
from fleetwide.models.worker_versions import VersionState, WorkerVersion
from fleetwide.providers.distribution import RegistryClient
from fleetwide.settings import Settings
from fleetwide.store import hosts, service_copies
from fleetwide.temporal.worker import WorkerRole, make_worker
from fleetwide.temporal.worker_versions import WorkerDeployment
from tests.bare_api import bare_api
from tests.workflow.later_services import PatchedService, UnmarkedService
from tests.workflow.serving import service, serving, until_ready
from tests.workflow.world import DIGEST, HOST, World, task, with_cloud, world
from workers.registry import WORKFLOWS, control_activities
from workflows.services import ContainerService

Handle = WorkflowHandle[Any, Any]
WHY = {"reason": "a test", "by": "ada"}
MOVE = {"reason": EndReason.HOST_DRAINING, "message": "drained", "index": 0, "host_id": HOST}
NAME = "fleetwide"
DYNAMIC = (
    # Else Temporal looks every three minutes whether a version is drained.
    'matching.wv.VersionDrainageStatusVisibilityGracePeriod="1s"',
    'matching.wv.VersionDrainageStatusRefreshInterval="1s"',
    "limit.historyCount.suggestContinueAsNew=80",
    "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute=1",
)
DOES_NOT_REPLAY = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[World]:
    """Its own control worker has no build id."""
    async with world(tmp_path, dynamic=DYNAMIC) as running, serving(running):
        yield running


def worker(plane: World, build_id: str, services: type = ContainerService) -> Worker:
    """A control worker of that build, which may have services of another kind."""
    registry = create_autospec(RegistryClient, instance=True)
    registry.resolve.side_effect = lambda _reference: DIGEST
    control = control_activities(Settings(), plane.store, registry)
    types = [services if each is ContainerService else each for each in WORKFLOWS]
    role = WorkerRole(
        "control",
        types,
        with_cloud(control, plane.cloud, plane.baked),
        version=WorkerDeploymentVersion(NAME, build_id),
    )
    return make_worker(plane.client, role)


async def look(plane: World, build_id: str) -> WorkerVersion | None:
    return (await WorkerDeployment(plane.client, NAME).look()).versions.get(build_id)


async def promote(plane: World, build_id: str) -> None:
    async def polls() -> bool:
        found = await look(plane, build_id)
        return found is not None and found.pollers > 0

    await plane.until(polls)
    deployment = WorkerDeployment(plane.client, NAME)
    await deployment.make_current(build_id, (await deployment.look()).token, "ada")


async def build_of(handle: Handle) -> str:
    """The build that took the run's last step; empty before the first."""
    newest = handle._client.get_workflow_handle(handle.id)
    described = (await newest.describe()).raw_description.workflow_execution_info
    return described.versioning_info.deployment_version.build_id


async def until_on(plane: World, handle: Handle, build_id: str) -> None:
    async def reached() -> bool:
        return await build_of(handle) == build_id

    await plane.until(reached)


async def histories(plane: World, workflow_id: str) -> list[Any]:
    """All events of all runs under that id."""
    found: list[Any] = []
    async for run in plane.client.list_workflows(f"WorkflowId = '{workflow_id}'"):
        handle = plane.client.get_workflow_handle(workflow_id, run_id=run.run_id)
        found += (await handle.fetch_history()).events
    return found


def faults(events: list[Any]) -> list[Any]:
    failed = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    told = [e.workflow_task_failed_event_attributes for e in events if e.event_type == failed]
    return [each for each in told if each.cause == DOES_NOT_REPLAY]


def live(plane: World) -> set[str]:
    with plane.store.read() as session:
        return {row.task_id for row in service_copies.listing(session, "web")}


async def send(handle: Handle, name: str, argument: dict[str, Any]) -> Any:
    """An update as the API sends it."""
    update_id = uuid4().hex
    return await despite_lost_tasks(lambda: handle.execute_update(name, argument, id=update_id))


async def scale(web: Handle, desired: int) -> Any:
    return await send(web, "scale", {"desired": desired, **WHY})


async def keep_changing(web: Handle, host: Handle, over: asyncio.Event) -> int:
    """Updates of both without a pause, until it is over; returns how many were answered."""
    sent = 0
    while not over.is_set():
        for desired in (3, 2):
            told = await scale(web, desired)
            assert told["capacity"]["desired"] == desired
        for name in ("cordon", "uncordon"):
            await send(host, name, WHY)
        sent += 4
    return sent


async def test_services_hosts_and_tasks_live_through_an_upgrade(plane: World) -> None:
    async with worker(plane, "two", PatchedService):
        async with worker(plane, "one"):
            await promote(plane, "one")
            host = await plane.start(
                "Host", {"host_id": HOST, "cpu": 4, "memory": "8GiB"}, f"host/{HOST}"
            )
            web = await plane.start("ContainerService", service("sleep", desired=2), "service/web")
            held = await plane.start("ContainerTask", task("sleep"), "task/held")
            plane.archives.stuck_at.add("preview_build")
            plan = await plane.start(
                "OSImagePlan", {"name": "baseos", "suite": "bookworm"}, "os-plan/baseos/1"
            )
            await until_ready(plane, web, 2)
            await plane.until(lambda: plane.archives.steps.count("preview_build"))
            over = asyncio.Event()
            changing = asyncio.create_task(keep_changing(web, host, over))
            await promote(plane, "two")
            await web.signal("move", MOVE)
            await plane.until(lambda: "web.0.1" not in live(plane))
            for handle in (host, web):
                await until_on(plane, handle, "two")
            over.set()
            assert await changing > 0

            # What is pinned holds its build up, and can be seen to.
            assert await build_of(plan) == "one"
            draining = await look(plane, "one")
            assert draining is not None
            assert (draining.state, draining.pinned) == (VersionState.DRAINING, 1)
            fresh = await plane.start("ContainerTask", task("exit", "0"), "task/fresh")
            await fresh.result()
            assert await build_of(fresh) == "two"
            plane.archives.stuck_at.clear()
            await plan.result()
            assert await build_of(plan) == "one"

            async def drained() -> bool:
                found = await look(plane, "one")
                return found is not None and found.state is VersionState.DRAINED

            await plane.until(drained)
        # Its worker is stopped: all goes on.
        await plane.kill(held, "enough")
        assert (await held.result())["reason"] == EndReason.KILLED
        await scale(web, 1)
        await until_ready(plane, web, 1)
        events = await histories(plane, "service/web")
        assert (
            sum(e.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED for e in events) > 1
        )
        assert any(e.HasField("marker_recorded_event_attributes") for e in events)
        for workflow_id in ("service/web", f"host/{HOST}", "task/held"):
            assert faults(await histories(plane, workflow_id)) == []
        with plane.store.read() as session:
            assert [row.state for row in hosts.listing(session)] == [HostState.ACTIVE]


async def test_a_build_that_cannot_replay_is_rolled_back_and_nothing_is_lost(
    plane: World, tmp_path: Path
) -> None:
    address = plane.client.service_client.config.target_host
    with bare_api(tmp_path / "api", temporal_address=address) as http:

        async def ask(method: str, path: str = "", **more: Any) -> Any:
            url = f"/v1/worker-versions{path}"
            return (await asyncio.to_thread(http.request, method, url, **more)).json()

        async with worker(plane, "one"), worker(plane, "bad", UnmarkedService):
            await promote(plane, "one")
            web = await plane.start("ContainerService", service("sleep", desired=1), "service/web")
            await until_ready(plane, web, 1)
            promoted = await ask("POST", "/bad/promote", json=WHY)
            assert promoted["current"] == "bad"
            await web.signal("move", MOVE)

            async def failing() -> bool:
                found = await ask("GET", "/bad")
                return bool(found["warning"].startswith("1 run is failing on it"))

            await plane.until(failing)
            assert live(plane) == {"web.0.1"}
            assert (await ask("POST", "/rollback", json=WHY))["current"] == "one"
            await plane.until(lambda: live(plane) == {"web.1.1"})
            assert await build_of(web) == "one"
            assert (await scale(web, 2))["capacity"]["desired"] == 2
            await until_ready(plane, web, 2)

            for refused, why in (
                (await ask("POST", "/nobody/promote", json=WHY), "no worker has ever polled"),
                (await ask("POST", "/one/promote", json=WHY), "is current already"),
                (await ask("DELETE", "/one", params=WHY), "promote another one first"),
            ):
                assert why in refused["detail"]
            ramped = await ask("POST", "/bad/promote", json={"percent": 1, **WHY})
            ramp = {item["build_id"]: item["ramp_percent"] for item in ramped["items"]}
            assert (ramped["current"], ramp["bad"]) == ("one", 1)
            ended = await ask("POST", "/rollback", json=WHY)
            assert (ended["current"], ended["items"][0]["build_id"]) == ("one", "one")
            assert not any(item["state"] == VersionState.RAMPING for item in ended["items"])
        told = http.get("/v1/events", params={"subject": "worker-version/bad"}).json()
        assert [event["kind"] for event in told["items"]] == ["promoted", "promoted"]
        assert told["items"][0]["data"] == {"by": "ada", "reason": "a test"}
