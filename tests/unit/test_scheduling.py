"""What the scheduler reads from SQL: constraints of jobs meet what runs on the hosts."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from fleetwide.containers.placement import Plan, plan
from fleetwide.models.containers import AttemptRequest, ContainerSpec, JobHeader, JobKind
from fleetwide.models.hosts import HostSpec
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.task_states import PendingCode
from fleetwide.store import events, hosts, jobs, scheduling
from fleetwide.store.job_shapes import JobShapes
from fleetwide.store.session import Store
from fleetwide.store.tables import JobRow
from tests.placing import commit

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


def offer(store: Store, name: str, **labels: str) -> None:
    spec = HostSpec.model_validate({"host_id": name, "cpu": 4, "memory": "4GiB", "labels": labels})
    with store.write() as session:
        hosts.register(session, spec, now=NOW)


def accept(
    store: Store, name: str, count: int = 1, after: float = 0, cpu: float = 1, **hard: Any
) -> None:
    container = ContainerSpec.model_validate(
        {
            "image": "apps/x:1",
            "resources": {"cpu": cpu, "memory": "64MiB"},
            "constraints": {"hard": hard, "tolerations": ["old"]},
        }
    )
    header = JobHeader(
        workflow_id=name,
        run_id="r",
        kind=JobKind.BATCH,
        app="x",
        container=container,
        retry=RetryPolicy(),
    )
    when = NOW + timedelta(seconds=after)
    with store.write() as session:
        job = jobs.ensure(session, header, "apps/x@sha256:0", now=when)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=when)
        wanted = [AttemptRequest(index=index) for index in range(count)]
        jobs.ensure_attempts(session, job, header, wanted, waiter, now=when)


def turn(store: Store, shapes: JobShapes | None = None) -> Plan:
    """Plan on what is stored, and store it."""
    with store.read() as session:
        snapshot = scheduling.snapshot(session, shapes)
    made = plan(snapshot)
    with store.write() as session:
        commit(session, snapshot, made.decisions, now=NOW)
    return made


def test_children_of_a_job_stay_on_hosts_of_their_own_turn_after_turn(store: Store) -> None:
    offer(store, "h1")
    accept(store, "batch/1", count=3, uniqueHost=True)
    shapes = JobShapes()
    assert [each.host_id for each in turn(store, shapes).decisions] == ["h1"]
    waiting = turn(store, shapes).waiting
    assert {each.code for each in waiting.values()} == {PendingCode.CONSTRAINTS_UNMET}
    offer(store, "h2")
    assert [each.host_id for each in turn(store, shapes).decisions] == ["h2"]


def test_a_task_that_wants_to_be_alone_keeps_later_ones_away(store: Store) -> None:
    offer(store, "h1")
    accept(store, "task/1", exclusiveHost=True)
    assert len(turn(store).decisions) == 1
    accept(store, "task/2")
    (explained,) = turn(store).waiting.values()
    assert explained.code is PendingCode.CONSTRAINTS_UNMET


def test_jobs_that_must_be_apart_are_told_by_their_workflow_ids(store: Store) -> None:
    offer(store, "h1")
    offer(store, "h2")
    accept(store, "task/1")
    (first,) = turn(store).decisions
    accept(store, "task/2", notWithJob=["task/1"])
    (second,) = turn(store).decisions
    assert {first.host_id, second.host_id} == {"h1", "h2"}


def test_zones_and_taints_come_from_the_labels_of_hosts(store: Store) -> None:
    offer(store, "h1", zone="a", **{"taint.gpu": "yes"})
    offer(store, "h2", zone="b", **{"taint.old": "yes"})
    accept(store, "task/1", availabilityZone="a")
    accept(store, "task/2", availabilityZone=["a", "b"])
    made = turn(store)
    assert [each.host_id for each in made.decisions] == ["h2"]
    assert {each.code for each in made.waiting.values()} == {PendingCode.CONSTRAINTS_UNMET}


def test_the_larger_one_goes_first_among_those_that_came_together_only(store: Store) -> None:
    offer(store, "h1")
    accept(store, "task/small", cpu=1)
    accept(store, "task/large", cpu=4, after=1)
    with store.read() as session:
        together = scheduling.snapshot(session)
    assert [each.request_id for each in plan(together).decisions] == [2]
    accept(store, "task/last", cpu=4, after=60)
    turn(store)
    with store.read() as session:
        assert hosts.reserved(session)["h1"][0] == 4000
        later = scheduling.snapshot(session)
    assert [each.rank for each in later.requests] == sorted(each.rank for each in later.requests)


def test_jobs_from_before_their_asks_were_kept_are_read_from_their_specs(store: Store) -> None:
    offer(store, "h1")
    offer(store, "h2")
    accept(store, "batch/1", count=3, uniqueHost=True)
    with store.write() as session:
        session.execute(update(JobRow).values(asks=""))
    made = turn(store)
    assert sorted(each.host_id for each in made.decisions) == ["h1", "h2"]
    assert {each.code for each in made.waiting.values()} == {PendingCode.CONSTRAINTS_UNMET}


def test_many_events_are_written_at_once_as_each_by_itself(store: Store) -> None:
    rows = [
        events.values(f"task/{n}", "told", 'a "quoted" ü', at=NOW, data={"n": n, "none": None})
        for n in range(events.MANY + 1)
    ]
    with store.write() as session:
        events.append_all(session, rows[:1])
        events.append_all(session, rows)
    with store.read() as session:
        first, *many = events.after(session, 0)
    told = [(one.subject, one.message, one.at, one.product, one.data) for one in (first, *many)]
    alike = [(f"task/{n}", 'a "quoted" ü', NOW, "task", {"n": n, "none": None}) for n in range(21)]
    assert told == [alike[0], *alike]
