"""Why an attempt waits, from the spec to what its row says: each reason that hosts can have today."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlmodel import col, select

from fleetwide.containers.placement import Blocker
from fleetwide.models.base import Waiting
from fleetwide.models.hosts import HostState
from fleetwide.models.pools import HostPoolSpec, PoolTurn
from fleetwide.models.task_states import TaskState
from fleetwide.providers import local_machines
from fleetwide.store import hosts, pool_offers, pools
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, HostRow
from tests.unit.test_kept_fleet import NOW, accept, offer, placer
from workers import waits

HARD: dict[Blocker, dict[str, Any]] = {
    Blocker.OTHER_ZONE: {"availabilityZone": "z"},
    Blocker.OTHER_MACHINE: {"machineId": "z"},
    Blocker.OTHER_MACHINE_GROUP: {"machineGroup": "z"},
    Blocker.OTHER_MACHINE_TYPE: {"machineType": "z"},
    Blocker.OTHER_BACKEND: {"kubeBackend": "z"},
    Blocker.OTHER_CPU_MODEL: {"cpuModel": "z"},
    Blocker.LABEL_MISSING: {"label": {"disk": "z"}},
    Blocker.LABEL_REFUSED: {"notLabel": {"zone": "a"}},
    Blocker.NOT_EMPTY: {"exclusiveHost": True},
    Blocker.OTHER_JOB: {"notWithJob": ["batch/1"]},
}


@pytest.fixture
def store(tmp_path: Any, sqlite_template: Any) -> Iterator[Store]:
    file = tmp_path / "test.db"
    file.write_bytes(sqlite_template.read_bytes())
    opened = Store.open(f"sqlite:///{file}")
    yield opened
    opened.engine.dispose()


def waiting(store: Store) -> dict[int, Waiting]:
    """Job to what its attempt's row says."""
    query = select(AttemptRow).where(AttemptRow.state == TaskState.ACCEPTED)
    with store.read() as session:
        rows = session.exec(query.order_by(col(AttemptRow.id))).all()
    return {row.job_id: Waiting.model_validate(row.waiting) for row in rows if row.waiting}


async def why(store: Store, name: str = "batch/2", **asked: Any) -> Waiting:
    """What a second job waits for, while a task of ``batch/1`` is on each of two hosts."""
    for host_id in ("h1", "h2"):
        offer(store, host_id, zone="a")
    one = placer(store)
    spread = {"hard": {"uniqueHost": True}}
    accept(store, "batch/1", 2, constraints=spread)
    await one.tick()
    accept(store, name, **asked)
    await one.tick()
    return waiting(store)[2]


@pytest.mark.parametrize("blocker", HARD)
async def test_each_constraint_tells_how_many_hosts_it_rules_out(
    store: Store, blocker: Blocker
) -> None:
    told = await why(store, constraints={"hard": HARD[blocker]})
    assert told.code == "constraintsUnmet"
    assert told.numbers[f"ruledOut.{blocker.name}"] == 2
    assert told.numbers["hosts"] == 2


async def test_a_full_fleet_tells_the_nearest_miss(store: Store) -> None:
    told = await why(store, cpu=3.5)
    assert told.code == "hostsFull"
    assert told.numbers["ruledOut.FULL_CPU"] == 2
    assert (told.numbers["nearestFreeCpu"], told.numbers["short.cpu"]) == (3, 0.5)


async def test_a_task_too_large_for_every_host_tells_the_largest(store: Store) -> None:
    told = await why(store, cpu=32)
    assert told.code == "exceedsEveryHost"
    assert told.numbers["ruledOut.TOO_SMALL_CPU"] == 2
    assert (told.numbers["largestHostCpu"], told.numbers["short.cpu"]) == (4, 28)


async def test_a_task_of_one_per_host_tells_where_its_job_is_already(store: Store) -> None:
    offer(store, "h1")
    accept(store, "batch/1", 2, constraints={"hard": {"uniqueHost": True}})
    one = placer(store)
    await one.tick()
    assert waiting(store)[1].numbers["ruledOut.SAME_JOB"] == 1


async def test_taints_phasing_out_and_solitude_are_told(store: Store) -> None:
    offer(store, "h1", 4, **{"taint.gpu": "yes"})
    offer(store, "h2")
    offer(store, "h3")
    with store.write() as session:
        row = session.get(HostRow, "h2")
        assert row is not None
        hosts.set_state(session, row, HostState.PHASED_OUT, now=NOW)
    one = placer(store)
    accept(store, "batch/1", constraints={"hard": {"exclusiveHost": True, "machineId": "h3"}})
    await one.tick()
    accept(store, "batch/2", constraints={"hard": {"activeHost": True}})
    await one.tick()
    told = waiting(store)[2].numbers
    assert {name for name in told if name.startswith("ruledOut")} == {
        "ruledOut.TAINTED",
        "ruledOut.PHASED_OUT",
        "ruledOut.HELD_ALONE",
    }
    assert "ruledOut.HELD_ALONE" in told


async def test_a_fleet_without_hosts_says_so(store: Store) -> None:
    accept(store, "batch/1")
    await placer(store).tick()
    assert waiting(store)[1].code == "noHosts"


async def test_reasons_of_many_are_written_a_part_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "MOST_AT_ONCE", 10)
    monkeypatch.setattr(waits, "WRITES_A_SECOND", 0)
    accept(store, "batch/1", 25)
    one = placer(store)
    one.waits = waits.Waits()
    await one.tick()
    with store.read() as session:
        rows = session.exec(select(AttemptRow)).all()
    assert sum(row.waiting is not None for row in rows) == 10


@pytest.mark.parametrize(
    ("cpu", "told"),
    [(8, "; a new host would help: web/large"), (16, "; no kind of new host would help")],
)
async def test_whether_a_new_host_of_a_pool_would_help_is_told(
    store: Store, cpu: float, told: str
) -> None:
    types = [
        {"name": "small", "cpu": 2, "memory": "4GiB"},
        {"name": "large", "cpu": 8, "memory": "32GiB"},
    ]
    spec = HostPoolSpec.model_validate({"name": "web", "provider": "local", "types": types})
    turn = PoolTurn(spec=spec, workflow_id="pool/web", run_id="r")
    with store.write() as session:
        pools.ensure(session, turn, now=NOW)
        session.flush()
        found = [local_machines.offer(spec, one) for one in spec.types]
        pool_offers.note(session, "web", found, 10, grows=True, now=NOW)
    seen = await why(store, cpu=cpu)
    assert seen.sentence.endswith(told)
