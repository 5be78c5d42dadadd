"""``ImagePreheat`` with hosts that fail, stay away or lie."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from api.lifecycles import failure_of
from fleetwide.models.hosts import HostSpec, host_task_queue
from fleetwide.models.registry_preheat import PreheatOutcome, WarmedHost, WarmHost
from fleetwide.registry import preheat
from fleetwide.store import hosts, registry_preheats
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.workflow.world import DIGEST, World, world

SIZE = 1000


@dataclass
class ScriptedEngine:
    """Acts out one host's pre-heat, and remembers from whom it was told to fetch."""

    host_id: str
    fails: bool = False
    suspects: bool = False
    stuck: asyncio.Event | None = None
    before: Callable[[], None] | None = None
    peers: list[str | None] = field(default_factory=list)

    @activity.defn(name="preheat.warm_host")
    async def warm_host(self, request: WarmHost) -> WarmedHost:
        self.peers.append(request.peer)
        if self.before is not None:
            self.before()
        while self.stuck is not None and not self.stuck.is_set():
            activity.heartbeat()
            await asyncio.sleep(0.05)
        if self.fails:
            raise ApplicationError("the disk is full", type="Internal", non_retryable=True)
        peer = request.peer is not None and not self.suspects
        return WarmedHost(
            host_id=self.host_id,
            peer_url=f"http://{self.host_id}",
            bytes_peers=SIZE if peer else 0,
            bytes_registry=0 if peer else SIZE,
            faults=["other bytes"] if self.suspects and request.peer else [],
        )


@dataclass
class Fleet:
    plane: World
    engines: dict[str, ScriptedEngine]

    async def begin(self, **more: object) -> WorkflowHandle[Any, Any]:
        spec = {"reference": f"apps/hello@{DIGEST}", "hosts": list(self.engines), **more}
        return await self.plane.start("ImagePreheat", spec, "preheat/1")

    async def preheat(self, **more: object) -> PreheatOutcome:
        handle = await self.begin(**more)
        return PreheatOutcome.model_validate(await handle.result())

    def allowed(self) -> dict[str, set[str]]:
        """What each host may pull now."""
        now = datetime.now(UTC)
        with self.plane.store.read() as session:
            found = {
                name: registry_preheats.repositories(session, name, now=now)
                for name in self.engines
            }
        return {name: repositories for name, repositories in found.items() if repositories}


@asynccontextmanager
async def hosts_of(folder: Path, count: int, *, skipping: bool = False) -> AsyncIterator[Fleet]:
    """Hosts, each with a worker of its own."""
    async with AsyncExitStack() as stack:
        plane = await stack.enter_async_context(world(folder, skipping=skipping))
        engines = {f"p{number}": ScriptedEngine(f"p{number}") for number in range(count)}
        with plane.store.write() as session:
            for name in engines:
                spec = HostSpec.model_validate({"host_id": name, "cpu": 1, "memory": "1GiB"})
                hosts.register(session, spec, now=datetime.now(UTC))
        for name, engine in engines.items():
            role = WorkerRole(host_task_queue(name), activities=[engine.warm_host])
            await stack.enter_async_context(make_worker(plane.client, role))
        yield Fleet(plane, engines)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with hosts_of(tmp_path, 8) as made:
        yield made


async def test_the_registry_serves_the_seeds_and_peers_the_rest(fleet: Fleet) -> None:
    outcome = await fleet.preheat(seeds=2, fan_out=2)
    assert len(outcome.warm) == 8
    assert outcome.failed == {}
    assert 1 <= outcome.bytes_registry / SIZE <= 2
    assert outcome.bytes_registry + outcome.bytes_peers == 8 * SIZE


async def test_a_host_that_fails_holds_up_nobody(fleet: Fleet) -> None:
    fleet.engines["p3"].fails = True
    outcome = await fleet.preheat(seeds=1)
    assert len(outcome.warm) == 7
    assert outcome.failed == {"p3": "the disk is full"}
    assert fleet.allowed() == {}


async def test_nobody_is_sent_again_to_a_peer_that_somebody_suspects(fleet: Fleet) -> None:
    for engine in fleet.engines.values():
        engine.suspects = True
    outcome = await fleet.preheat(seeds=1, fan_out=1)
    assert len(outcome.warm) == 8
    told = [peer for engine in fleet.engines.values() for peer in engine.peers if peer]
    assert len(told) == len(set(told))


async def test_a_cancel_reaches_the_hosts_and_ends_what_they_may_pull(fleet: Fleet) -> None:
    never = asyncio.Event()
    for engine in fleet.engines.values():
        engine.stuck = never
    spec = {"reference": f"apps/hello@{DIGEST}", "hosts": ["p1", "p4"]}
    handle = await fleet.plane.start("ImagePreheat", spec, "preheat/2")
    await fleet.plane.until(lambda: any(one.peers for one in fleet.engines.values()))
    assert fleet.allowed() == {"p1": {"apps/hello"}, "p4": {"apps/hello"}}
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    await fleet.plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert fleet.allowed() == {}


async def test_a_host_that_takes_no_work_is_refused(fleet: Fleet) -> None:
    with pytest.raises(WorkflowFailureError) as failed:
        await fleet.preheat(hosts=["p1", "nobody"])
    assert "nobody" in failure_of(failed.value.cause).message


async def test_a_pre_heat_of_many_hosts_goes_on_in_new_runs_under_the_same_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preheat, "RUN_EVENTS", 60)
    monkeypatch.setattr(preheat, "AT_A_TIME", 6)
    async with hosts_of(tmp_path, 40, skipping=True) as fleet:
        fleet.engines["p7"].fails = True
        fleet.engines["p30"].fails = True
        may: set[int] = set()
        for engine in fleet.engines.values():
            engine.before = lambda: may.add(len(fleet.allowed()))
        handle = await fleet.begin(seeds=2, fan_out=3)
        outcome = PreheatOutcome.model_validate(await handle.result())
        first = await fleet.plane.client.get_workflow_handle(
            "preheat/1", run_id=handle.first_execution_run_id
        ).describe()
        assert first.status is WorkflowExecutionStatus.CONTINUED_AS_NEW
        assert fleet.allowed() == {}
    assert (outcome.hosts, outcome.done, outcome.lost, outcome.waiting) == (40, 38, 2, 0)
    assert set(outcome.failed) == {"p7", "p30"}
    assert {host.host_id for host in outcome.warm} | set(outcome.failed) == set(fleet.engines)
    assert [len(engine.peers) for engine in fleet.engines.values()] == [1] * 40
    # Who was warm in the first run serves in the ones after it.
    assert outcome.bytes_registry <= 3 * SIZE
    assert may == {40}


async def test_a_cancel_in_a_later_run_ends_what_the_hosts_may_pull(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preheat, "RUN_EVENTS", 30)
    monkeypatch.setattr(preheat, "AT_A_TIME", 4)
    async with hosts_of(tmp_path, 12) as fleet:
        engines, never = fleet.engines.values(), asyncio.Event()

        def hang_late() -> None:
            if sum(len(engine.peers) for engine in engines) > 8:
                for engine in engines:
                    engine.stuck = never

        for engine in engines:
            engine.before = hang_late
        handle = await fleet.begin(seeds=1, fan_out=1)
        await fleet.plane.until(lambda: any(engine.stuck for engine in engines))
        current = await fleet.plane.client.get_workflow_handle("preheat/1").describe()
        assert current.run_id != handle.first_execution_run_id
        assert len(fleet.allowed()) == 12
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert fleet.allowed() == {}
