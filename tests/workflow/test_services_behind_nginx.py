"""Services behind a real nginx: no request is lost while copies come and go, or a host is lost.

Hosts are processes of their own whose containers serve HTTP, so that one can die with all it has.
"""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from fleetwide.models.deploys import DeployPhase
from fleetwide.models.hosts import HostState
from fleetwide.models.task_states import TaskState
from fleetwide.providers.nginx_targets import NginxUpstreams
from fleetwide.providers.target_groups import TargetGroups
from fleetwide.settings import Settings
from fleetwide.store import hosts, service_copies, targets
from fleetwide.store.service_copies import Seen
from fleetwide.store.tables import HostRow
from tests.api.harness import free_port
from tests.nginx_load import Load, real_nginx
from tests.workflow.serving import service, serving, until_ready
from tests.workflow.world import HOST, World, world
from workers import targets as turn
from workers.leading import Leadership
from workers.load_balancers import GroupTeller, NginxTeller
from workers.placing import Placer
from workers.targets import Registrar

WHY = {"reason": "a test", "by": "ada"}
COPIES = 4
MOVES_AT_ONCE = {
    "policy": {"availability_percentage": {"percent": 50}},
    "health": "alwaysHealthy",
}
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


@dataclass(frozen=True)
class Machine:
    """A host that can be killed."""

    plane: World
    host_id: str
    process: subprocess.Popen[bytes]

    def spec(self) -> dict[str, Any]:
        """What it offers; it is silent after ten times as long as it reports."""
        first = free_port()
        ports = {"first_port": first, "last_port": first + 50}
        return {"host_id": self.host_id, "cpu": 2, "memory": "4GiB", "report_seconds": 0.3, **ports}

    def state(self) -> str:
        with self.plane.store.read() as session:
            found = session.get(HostRow, self.host_id)
            return found.state if found else ""


@contextmanager
def machine(plane: World, number: int) -> Iterator[Machine]:
    """A host of its own address; all that begin with 127 are this machine's."""
    temporal = plane.environment.client.service_client.config.target_host
    host_id, address = f"web-{number}", f"127.77.0.{number}"
    words = ("-m", "tests.workflow.http_host", temporal, host_id, address)
    process = subprocess.Popen([sys.executable, *words])
    try:
        yield Machine(plane, host_id, process)
    finally:
        process.kill()
        process.wait()


@dataclass
class Shop:
    """A service behind nginx."""

    plane: World
    spec: dict[str, Any]
    handle: WorkflowHandle[Any, Any]

    async def settled(self, copies: int) -> None:
        """Until there are so many copies, all of them registered and nobody else."""
        await until_ready(self.plane, self.handle, copies)
        await self.plane.until(self.all_serve)

    def all_serve(self) -> bool:
        """Whether those are registered that have not ended and are not on a silent host."""
        return self._registered() == self._live()

    def _registered(self) -> list[str]:
        with self.plane.store.read() as session:
            found = [one for _, one in targets.registrations(session) if one.state == "registered"]
        return sorted(one.task_id for one in found)

    def _live(self) -> list[str]:
        return sorted(one.row.task_id for one in self._copies())

    def copies_on(self) -> Counter[str | None]:
        """How many copies each host has."""
        return Counter(one.copy.host_id for one in self._copies())

    def _copies(self) -> list[Seen]:
        """Those that are not over, nor on a silent host."""
        with self.plane.store.read() as session:
            found = service_copies.seen(session, "web")
        return [one for one in found if one.copy.state is not TaskState.DISCONNECTED]


async def begin(plane: World, machines: Sequence[Machine]) -> Shop:
    """A service on these hosts alone, half of its copies on each."""
    with plane.store.write() as session:
        host = hosts.find_locked(session, HOST)
        assert host is not None
        hosts.set_state(session, host, HostState.INACTIVE, now=datetime.now(UTC))
    for one in machines:
        await plane.start("Host", one.spec(), f"host/{one.host_id}")
    await plane.until(lambda: all(one.state() == HostState.ACTIVE for one in machines))
    spec = service("serve", desired=COPIES, targets=[WEB], disruption_budget=MOVES_AT_ONCE)
    spec["container"] |= {
        "constraints": {"fit": "spread"},
        "disconnect": {"replace_while_disconnected": True},
    }
    spec["container"]["resources"]["ports"] = ["http"]
    made = Shop(plane, spec, await plane.start("ContainerService", spec, "service/web"))
    await made.settled(COPIES)
    return made


@asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[tuple[Shop, Machine, Machine]]:
    """A service on two hosts behind nginx, and requests to it all the time: none may be lost."""
    async with world(folder) as plane, serving(plane):
        with real_nginx(folder) as nginx, machine(plane, 1) as one, machine(plane, 2) as two:
            async with scheduling(plane, nginx):
                web = await begin(plane, (one, two))
                load = Load(folder / "door", pause=0.02)
                try:
                    yield web, one, two
                finally:
                    await asyncio.to_thread(load.end)
                assert load.failures == []
                assert load.answers


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler sees by its names when nginx has loaded: it need not wait to be sure."""
    monkeypatch.setattr(turn, "SETTLES", timedelta())


async def test_no_request_is_lost_through_a_deploy_a_drain_and_a_scale_down(tmp_path: Path) -> None:
    async with shop(tmp_path) as (web, one, two):
        web.spec["container"]["env"] = {"VERSION": "2"}
        request = {"spec": web.spec, "keep": ["capacity"], **WHY}
        await web.handle.execute_update("deploy", request)
        told = await until_ready(web.plane, web.handle, COPIES)
        assert told.deploy is not None
        assert told.deploy.phase is DeployPhase.SUCCEEDED
        assert web.copies_on()[one.host_id], "the drain moves something"
        host = web.plane.client.get_workflow_handle(f"host/{one.host_id}")
        await host.execute_update("drain", WHY)
        await web.plane.until(lambda: one.state() == HostState.REMOVABLE)
        await web.settled(COPIES)
        assert web.copies_on() == {two.host_id: COPIES}
        await web.handle.execute_update("scale", {"desired": 1, **WHY})
        await web.settled(1)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
async def test_no_request_is_lost_with_a_host(tmp_path: Path, end: signal.Signals) -> None:
    """As far as a request may be repeated, and its answer had not begun."""
    async with shop(tmp_path) as (web, one, two):
        assert web.copies_on() == {one.host_id: COPIES / 2, two.host_id: COPIES / 2}
        one.process.send_signal(end)
        await web.plane.until(lambda: one.state() == HostState.DISCONNECTED)
        await web.plane.until(lambda: web.copies_on() == {two.host_id: COPIES})
        await web.plane.until(web.all_serve)
