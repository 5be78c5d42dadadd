"""``kill -9`` of scheduler, control worker and host process while a fleet is at work.

The hosts are simulated, twenty in one process; all else is real. What is counted comes from SQL and
from the starts that the hosts noted: nothing runs twice, nothing is forgotten, no host is overfull.
"""

import asyncio
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlmodel import col, func, select

from benchmarks.fleets import SIMULATION, Tasks, fleet_config, push_nothing, simulated_task
from fleetwide.dev.config import DevConfig
from fleetwide.dev.parse import load
from fleetwide.dev.platform import down, status, up
from fleetwide.dev.registry_accounts import ADMIN, admin_secret
from fleetwide.models.hosts import HostState
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.registry_auth import Credentials
from fleetwide.providers.simulated_state import SimulatedState
from fleetwide.settings import Settings
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, HostRow
from fleetwide.temporal.client import connect
from tests.faults.counts import held, overfull
from tests.platforms import ROOT, eventually, on_free_ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

HOSTS, TASKS = 20, 120
OPTIONS = "--size 2x4GiB"
"""So that there is room for a third of the tasks at a time."""
KILLS = {25: "scheduler", 50: "control", 75: SIMULATION}
"""Which process dies when so many attempts have ended."""


@dataclass(frozen=True)
class Fleet:
    """A control plane with simulated hosts, and its books."""

    config: DevConfig
    state: Path
    store: Store

    def push_image(self) -> str:
        url = f"http://127.0.0.1:{self.config.processes['registry'].port}"
        account = Credentials(ADMIN, admin_secret(self.state).read_text())
        with RegistryClient(url, account) as registry:
            return push_nothing(registry)

    def kill(self, process: str) -> None:
        [pid] = [item.pid for item in status(self.state) if item.name == process]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def count(self, *conditions: object) -> int:
        with self.store.read() as session:
            query = select(func.count()).select_from(AttemptRow).where(*conditions)  # type: ignore[arg-type]
            return session.exec(query).one()

    def active_hosts(self) -> int:
        with self.store.read() as session:
            active = select(HostRow).where(HostRow.state == HostState.ACTIVE)
            return len(session.exec(active).all())


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    config = on_free_ports(fleet_config(load(ROOT / "temporal-dev.yaml"), HOSTS, OPTIONS))
    with tempfile.TemporaryDirectory(prefix="fw-fleet-") as folder:
        state = Path(folder).resolve() / "state"
        try:
            up(config, state)
            store = Store.open(f"sqlite:///{state / 'fleetwide.db'}")
            yield Fleet(config, state, store)
            store.engine.dispose()
        finally:
            down(state)


async def until_ended(fleet: Fleet, attempts: int) -> None:
    ended = AttemptRow.state == TaskState.FINISHED
    await asyncio.to_thread(
        eventually, lambda: fleet.count(ended) >= attempts, 300, f"{attempts} ended attempts"
    )


async def test_killed_processes_lose_double_and_overfill_nothing(fleet: Fleet) -> None:
    spec = simulated_task(
        fleet.push_image(), "run=500ms..3s log=2", resources={"cpu": 1, "memory": "1GiB"}
    )
    client = await connect(Settings(temporal_address=fleet.config.temporal.address))
    await asyncio.to_thread(
        eventually, lambda: fleet.active_hosts() == HOSTS, 300, "all hosts active"
    )
    running = await Tasks(client).start([spec] * TASKS)
    for ended, process in KILLS.items():
        await until_ended(fleet, ended)
        assert fleet.count(AttemptRow.state != TaskState.FINISHED), "all ended before the kill"
        fleet.kill(process)
    results = await asyncio.gather(*(handle.result() for handle in running))

    ends = Counter((result["reason"], result["attempts"]) for result in results)
    assert ends == {(EndReason.NORMAL, 1): TASKS}
    simulated = SimulatedState(fleet.state / "simulated" / "sim.db")
    starts = Counter(simulated.starts())
    assert len(starts) == TASKS
    assert set(starts.values()) == {1}
    left = [simulated.containers(f"sim-{number + 1:04d}") for number in range(HOSTS)]
    assert not any(left)
    simulated.close()
    assert fleet.count(col(AttemptRow.reserved).is_(True)) == 0
    assert fleet.count() == TASKS
    with fleet.store.read() as session:
        assert sum(map(len, held(session).values())) == TASKS
        assert overfull(session) == {}
