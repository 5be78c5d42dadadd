"""``kill -9`` of API, Temporal and database while tasks stand in every state; nothing is simulated.

One task in each state, one kill for all. Each is asked for by a client that repeats its request,
under one key, until it has the task's end: requests are under way whenever something dies. What
keeps a task where it is is a file that is not there yet, or a host that stands still.
"""

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import docker
import httpx2
import pytest
from sqlmodel import col, func, select

from api.lifecycles import idempotent_id
from fleetwide.client import Client
from fleetwide.errors import Conflict, ServiceUnavailable
from fleetwide.models.containers import AttemptKey, ContainerTaskSpec
from fleetwide.models.documents import Operation
from fleetwide.models.task_states import TaskState
from fleetwide.store.tables import AttemptRow, JobRow
from tests.faults.cells import BIN, Cell, cell, listens, until
from tests.faults.counts import overfull
from tests.integration.containers_fixtures import (  # noqa: F401
    DOCKER_URL,
    TinyRegistry,
    free_port,
    tiny_registry,
)
from tests.postgres import Postgres

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

GATE = "while [ ! -e /data/go ]; do sleep 0.1; done"
DEAF = f"trap '' TERM; {GATE}"
STANDING = {
    "accepted": TaskState.ACCEPTED,
    "launched": TaskState.LAUNCHED,
    "starting": TaskState.START_INITIATED,
    "started": TaskState.STARTED,
    "ending": TaskState.KILL_INITIATED,
}
LATE = ("late-1", "late-2", "late-3", "late-4")
"""Asked for when the kill comes."""
DATA = [{"volume": "data", "path": "/data"}]
NOT_YET = {
    "command": ["/bin/sh", "-c", "cat /data/go"],
    "interval_seconds": 1,
    "start_period_seconds": 600,
}
Found = TypeVar("Found")


@dataclass
class Plant:
    """A cell on PostgreSQL with an API and two hosts, of which one stands still at times."""

    cell: Cell
    postgres: Postgres
    api_port: int = field(default_factory=free_port)

    def start_api(self) -> None:
        port = {"FLEETWIDE_API_PORT": str(self.api_port)}
        self.cell.start("api", str(BIN / "fleetwide"), "api", **port)
        until(self._answers, 120, "the API")

    def _answers(self) -> bool:
        assert self.cell.processes["api"].poll() is None
        return listens(self.api_port)

    def client(self) -> Client:
        url = f"http://127.0.0.1:{self.api_port}"
        return Client(url, http=httpx2.Client(base_url=url, timeout=90))

    def kill(self, victim: str) -> None:
        if victim == "database":
            self.postgres.stop(signal.SIGKILL)
        else:
            self.cell.signal(victim, signal.SIGKILL)

    def start(self, victim: str) -> None:
        again = {
            "api": self.start_api,
            "temporal": self.cell.start_temporal,
            "database": self.postgres.start,
        }
        again[victim]()


@pytest.fixture(scope="module")
def plant(tiny_registry: TinyRegistry) -> Iterator[Plant]:  # noqa: F811
    folder, books = (Path(tempfile.mkdtemp(prefix=f"fw-{name}-")) for name in ("cell", "pg"))
    # What was committed has to be there after a kill.
    postgres = Postgres(books, synchronous_commit="on")
    try:
        postgres.start()
        with cell(folder, tiny_registry, postgres.database()) as made:
            found = Plant(made, postgres)
            found.start_api()
            for host in ("busy", "still"):
                made.start_host(host)
            for host in ("busy", "still"):
                until(lambda host=host: made.host_state(host) == "Active", what=host)
            yield found
    finally:
        postgres.stop(signal.SIGQUIT)
        for each in (folder, books):
            shutil.rmtree(each, ignore_errors=True)


@dataclass
class Company:
    """One task in each state, each with somebody who asks for its end."""

    plant: Plant
    case: str
    pool: ThreadPoolExecutor
    asking: dict[str, Future[Operation]] = field(default_factory=dict)

    def task(self, name: str) -> str:
        """The id that every answer has to call it."""
        return idempotent_id(f"{self.case}-{name}")

    def ask(self, name: str, script: str, **container: Any) -> None:
        """Have somebody ask for the task until its end is told."""
        asked = {**self._container(script), **container}
        spec = ContainerTaskSpec.model_validate(
            {"app": "drill", "owner": self.case, "container": asked}
        )

        def once(client: Client) -> Operation | None:
            told = client.tasks.run(spec, idempotency_key=f"{self.case}-{name}", wait=30)
            assert told.id == self.task(name)
            return told if told.closed_at else None

        self.asking[name] = self.pool.submit(self._insist, once, f"the end of {name}")

    def end(self, name: str) -> Future[bool]:
        """Have somebody ask for the task's kill until that is answered."""

        def once(client: Client) -> bool:
            with suppress(Conflict):  # an earlier request was heard
                client.tasks.cancel(self.task(name), "enough")
            return True

        return self.pool.submit(self._insist, once, f"the kill of {name}")

    def _insist(self, ask: Callable[[Client], Found | None], what: str) -> Found:
        """Ask again whenever the platform cannot answer."""

        def once() -> Found | None:
            with suppress(ServiceUnavailable):
                return ask(client)
            return None

        with self.plant.client() as client:
            found: Found = until(once, 300, what)
        return found

    def _container(self, script: str) -> dict[str, Any]:
        return {
            "image": self.plant.cell.registry.image,
            "command": ["/bin/sh", "-c", script],
            "network": "none",
            "resources": {"cpu": 0.2, "memory": "32MiB", "disk": "100MB"},
            "stop_grace_seconds": 120,
            "volumes": [{"name": "data", "kind": "shared", "size": "8MiB"}],
            "mounts": DATA,
            "constraints": {"hard": {"machine_id": ["busy"]}},
        }

    def gather(self) -> None:
        """Bring each task to where it shall stand."""
        until(lambda: self.plant.cell.host_state("still") == "Active", what="the still host")
        slow = {
            "name": "slow",
            "image": self.plant.cell.registry.image,
            "command": ["/bin/sh", "-c", "sleep 600"],
            "start": "before",
            "health": NOT_YET,
            "mounts": DATA,
        }
        self.ask("started", GATE)
        self.ask("ending", DEAF)
        self.ask("starting", "true", extra_containers=[slow])
        self._until_it_stands("started", TaskState.STARTED)
        self._until_it_stands("ending", TaskState.STARTED)
        self._until_it_stands("starting", TaskState.START_INITIATED)
        self.ask("accepted", "true", resources={"cpu": 0.8, "memory": "32MiB", "disk": "100MB"})
        self.end("ending")
        self._until_it_stands("accepted", TaskState.ACCEPTED)
        self._until_it_stands("ending", TaskState.KILL_INITIATED)
        # Its silence is noticed after ten seconds: it is the last one.
        self.plant.cell.signal("still", signal.SIGSTOP)
        self.ask("launched", "true", constraints={"hard": {"machine_id": ["still"]}})
        self._until_it_stands("launched", TaskState.LAUNCHED)

    def _until_it_stands(self, name: str, state: TaskState) -> None:
        until(lambda: self.states().get(name) == state, 120, f"{name} is {state}")

    def states(self) -> dict[str, str]:
        """What the books say of the tasks that are in them."""
        rows = {name: self.plant.cell.attempts(self.task(name)) for name in self.asking}
        return {name: found[-1].state for name, found in rows.items() if found}

    def release(self) -> None:
        """Nothing keeps them any more."""
        self.plant.cell.signal("still", signal.SIGCONT)
        with closing(docker.APIClient(base_url=DOCKER_URL)) as api:
            for name in ("started", "ending", "starting"):
                [row] = self.plant.cell.attempts(self.task(name))
                volume = f"{self._container_name(row.job_id)}.data"
                Path(api.inspect_volume(volume)["Mountpoint"], "go").write_text("now\n")

    def _container_name(self, job_id: int) -> str:
        with self.plant.cell.reading() as session:
            job = session.get(JobRow, job_id)
            assert job is not None
            key = AttemptKey(workflow_id=job.workflow_id, run_id=job.run_id)
        return key.container_name()

    def ends(self) -> dict[str, tuple[str, int]]:
        """How each task ended, and with how many attempts."""
        found = {}
        for name, future in self.asking.items():
            told = future.result()
            assert told.result is not None, told.error
            found[name] = (told.result["reason"], told.result["attempts"])
        return found

    def counts(self) -> dict[str, int]:
        """What there must be none of."""
        with self.plant.cell.reading() as session:
            mine = select(func.count()).select_from(JobRow).where(JobRow.owner == self.case)
            tasks = session.exec(mine).one()
            held = select(func.count()).where(col(AttemptRow.reserved).is_(True))
            reserved = session.exec(held).one()
            over = len(overfull(session))
        lives = [len(self.plant.cell.lives(self.task(name), main=True)) for name in self.asking]
        return {
            "duplicates": tasks - len(lives) + sum(one - 1 for one in lives if one > 1),
            "lost": lives.count(0),
            "over-commit": over,
            "orphans": reserved,
        }

    def nothing_is_left(self) -> bool:
        return not any(self.plant.cell.left(self.task(name)) for name in self.asking)


@pytest.mark.parametrize("victim", ["api", "temporal", "database"])
def test_killed_while_a_task_stands_in_each_state_none_is_lost_or_doubled(
    plant: Plant, victim: str
) -> None:
    with ThreadPoolExecutor(16) as pool:
        company = Company(plant, victim, pool)
        company.gather()
        assert company.states() == STANDING
        for name in LATE:
            company.ask(name, "true", resources={"cpu": 0.1, "memory": "32MiB", "disk": "100MB"})
            time.sleep(0.02)
        plant.kill(victim)
        plant.start(victim)
        company.release()
        ends = company.ends()
    assert ends.pop("ending") == ("killed", 1)
    assert ends == dict.fromkeys(ends, ("normal", 1))
    until(company.nothing_is_left, 120, "no container is left")
    assert company.counts() == {"duplicates": 0, "lost": 0, "over-commit": 0, "orphans": 0}
