"""A whole service behind a real nginx: no request is lost while copies come and go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetwide.models.containers import RunContainer
from fleetwide.models.deploys import DeployPhase
from fleetwide.models.hosts import HostSpec
from fleetwide.models.service_moves import CopyMove
from fleetwide.models.task_states import EndReason
from fleetwide.providers.nginx_targets import NginxUpstreams
from fleetwide.providers.target_groups import TargetGroups
from fleetwide.settings import Settings
from fleetwide.store import hosts, service_copies, targets
from tests.api.harness import free_port
from tests.nginx_load import Load, real_nginx, server
from tests.workflow.serving import service, serving, until_ready
from tests.workflow.world import HOST, HOST_CPU, World, world
from workers import targets as turn
from workers.leading import Leadership
from workers.load_balancers import GroupTeller, NginxTeller
from workers.placing import Placer
from workers.targets import Registrar

WHY = {"reason": "a test", "by": "ada"}
ADDRESS = "127.77.0.1"
"""Of this machine, as all that begin with 127; others do not listen there."""
WEB = {"port": "http", "nginx": "web", "drain_seconds": 0.5}


@asynccontextmanager
async def scheduling(plane: World, nginx: NginxUpstreams) -> AsyncIterator[None]:
    """One scheduler that places, and tells nginx of it."""
    plane.placing.cancel()
    leadership = Leadership(plane.store, "tests")
    placer = Placer(plane.store, plane.client, leadership)
    groups = GroupTeller(lambda: TargetGroups(Settings()))
    registrar = Registrar(plane.store, leadership, NginxTeller(nginx), groups)

    async def place() -> None:
        while True:
            await placer.tick()
            await asyncio.sleep(0.02)

    async def register() -> None:
        while True:
            if leadership.leads():
                await registrar.turn()
            await asyncio.sleep(0.1)

    tasks = [asyncio.create_task(place()), asyncio.create_task(register())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


def let_serve(plane: World) -> None:
    """Have each container of the host be a server on the port that it got."""
    first = free_port()
    described = {"host_id": HOST, "cpu": HOST_CPU, "memory": "4GiB"}
    ports = {"first_port": first, "last_port": first + 50}
    spec = HostSpec.model_validate({**described, **ports})
    sleep = plane.host._sleep

    async def serve(run: RunContainer) -> int:
        with server((ADDRESS, run.ports["http"])):
            await sleep()
        return 0

    plane.host._act = serve  # type: ignore[method-assign]
    with plane.store.write() as session:
        row = hosts.register(session, spec, now=datetime.now(UTC))
        row.machine = {"address": ADDRESS}


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as running, serving(running):
        let_serve(running)
        yield running


def registered(plane: World) -> list[str]:
    with plane.store.read() as session:
        found = [one for _, one in targets.registrations(session) if one.state == "registered"]
    return sorted(one.task_id for one in found)


def live(plane: World) -> list[str]:
    with plane.store.read() as session:
        return sorted(row.task_id for row in service_copies.listing(session, "web"))


async def test_no_request_is_lost_through_a_scale_down_a_move_and_a_deploy(
    plane: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "SETTLES", timedelta())
    spec = service("serve", targets=[WEB])
    spec["container"]["resources"]["ports"] = ["http"]
    with real_nginx(tmp_path) as nginx:
        async with scheduling(plane, nginx):
            handle = await plane.start("ContainerService", spec, "service/web")
            await until_ready(plane, handle, 3)
            await plane.until(lambda: len(registered(plane)) == 3)
            load = Load(tmp_path / "door", pause=0.02)
            try:
                await handle.execute_update("scale", {"desired": 2, **WHY})
                await until_ready(plane, handle, 2)
                [first, _] = live(plane)
                index = int(first.split(".")[1])
                move = CopyMove(reason=EndReason.EVICTED, message="a drain", index=index)
                await handle.signal("move", move)
                await plane.until(lambda: first not in live(plane))
                await until_ready(plane, handle, 2)
                spec["container"]["env"] = {"VERSION": "2"}
                await handle.execute_update("deploy", {"spec": spec, "keep": ["capacity"], **WHY})
                told = await until_ready(plane, handle, 2)
                assert told.deploy is not None
                assert told.deploy.phase is DeployPhase.SUCCEEDED
                await plane.until(lambda: registered(plane) == live(plane))
            finally:
                await asyncio.to_thread(load.end)
            assert load.failures == []
            assert len(set(load.answers)) >= 6  # three at first, one that was moved, two deployed
            await handle.execute_update("delete", WHY)
            await handle.result()
            await plane.until(lambda: registered(plane) == [])
