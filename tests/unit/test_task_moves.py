"""Copies that become those of another service, kills of copies, attributes: SQL without Temporal."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetwide.errors import Conflict, InvalidInput, NotFound
from fleetwide.models.hosts import HostReport
from fleetwide.models.metrics import CopyUsage, MetricBatch, MetricSample
from fleetwide.models.service_moves import CopyMove
from fleetwide.models.service_turns import CopyKill
from fleetwide.models.task_kills import TaskKill
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import (
    copy_kills,
    disruption_jobs,
    events,
    jobs,
    metrics,
    service_copies,
    service_history,
    services,
    targets,
)
from fleetwide.store.session import Store
from fleetwide.store.usage_notes import UsageNotes
from tests.unit.service_worlds import ServiceWorld, service_spec

WHY = {"by": "ada", "reason": "half of web is canary now"}


Two = tuple[ServiceWorld, ServiceWorld]


@pytest.fixture
def anywhere(database_url: str) -> Iterator[Two]:
    """Two services, on both kinds of database."""
    yield from _two(database_url)


@pytest.fixture
def two(tmp_path: Path, sqlite_template: Path) -> Iterator[Two]:
    yield from _two(f"sqlite:///{shutil.copy(sqlite_template, tmp_path)}")


@pytest.fixture
def web(two: Two) -> ServiceWorld:
    return two[0]


@pytest.fixture
def other(two: Two) -> ServiceWorld:
    return two[1]


def _two(url: str) -> Iterator[Two]:
    store = Store.open(url)
    web = _settled(ServiceWorld(store), desired=3)
    yield web, _settled(ServiceWorld(store, name="other"), desired=1, owner="others")
    store.engine.dispose()


def _settled(world: ServiceWorld, **more: Any) -> ServiceWorld:
    world.create(**more)
    world.settle()
    return world


def _capacities(*worlds: ServiceWorld) -> list[int]:
    with worlds[0].store.read() as session:
        return [services.get(session, world.name).desired for world in worlds]


def test_a_running_copy_becomes_one_of_another_service_and_nothing_starts_or_stops(
    anywhere: Two,
) -> None:
    web, other = anywhere
    with web.store.read() as session:
        before = events.newest(session)
    web.change("move_task", task_id="web.1.1", to="other", **WHY)
    assert _capacities(web, other) == [2, 2]
    for world in (web, other):
        turn = world.look()
        assert (turn.orders.starts, turn.orders.stops) == ([], [])
        assert (turn.status.ready, turn.status.waiting) == (2, None)
    [first, moved] = other.copies()
    assert (first.row.index, moved.row.index, moved.row.incarnation) == (0, 1, 1)
    assert (moved.row.task_id, moved.copy.membership.task_id) == ("web.1.1", "web.1.1")
    with web.store.read() as session:
        job = jobs.find(session, "task/web.1.1")
        assert job is not None
        assert (job.service_id, job.copy_index, job.finished_at) == ("other", 1, None)
        found = disruption_jobs.own_jobs(session, [job.id or 0])
        assert [one.key for one in found.values()] == ["service/other"]
        for name, desired in (("web", 2), ("other", 2)):
            [deed, *_] = service_history.activities(session, name)
            assert (deed.kind, deed.by, deed.reason) == ("moveTask", "ada", WHY["reason"])
            assert (deed.numbers["desired"], deed.after["desired"]) == (desired, desired)
        [told] = events.latest(session, "moved", subject="task/web.1.1", limit=5)
        assert "copy 1 of other now, and was one of web" in told.message
        _, changed = services.changed_since(session, before)
        assert changed == ["other", "web"]


def test_no_id_is_given_twice_after_a_move_there_and_back(anywhere: Two) -> None:
    web, other = anywhere
    web.change("move_task", task_id="web.1.1", to="other", **WHY)
    other.running.append("web.1.1")
    web.running.remove("web.1.1")
    web.change("scale", desired=3)
    web.settle()
    assert web.running == ["web.0.1", "web.2.1", "web.1.2"]
    other.end("web.1.1")
    other.settle()
    assert other.running == ["other.0.1", "other.1.2"]
    other.change("move_task", task_id="other.1.2", to="web", **WHY)
    assert {one.row.index: one.row.task_id for one in web.copies()}[3] == "other.1.2"
    web.change("move_task", task_id="other.1.2", to="other", **WHY)
    assert [one.row.task_id for one in other.copies()] == ["other.0.1", "other.1.2"]
    assert {one.row.incarnation for one in other.copies()} == {1, 3}


def test_a_move_is_made_once_however_often_it_is_carried_out(anywhere: Two) -> None:
    """Whoever did it was killed before it could say so."""
    web, other = anywhere
    move = {"task_id": "web.1.1", "to": "other", "expected_version": 1, **WHY}
    for _ in range(2):
        web.change("move_task", change_id="an-update", **move)
    for _ in range(2):
        web.change("terminate_copy", change_id="another", task_id="web.0.1", shrink=True)
    assert _capacities(web, other) == [1, 2]
    with pytest.raises(Conflict, match=r"web\.1\.1 was moved: it is a copy of other now"):
        web.change("move_task", change_id="of-somebody-else", **move)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"capacity": {"desired": 1, "max": 1}}, "wants its max of 1 copies: it has no room"),
        ({"enabled": False}, "service third is disabled"),
        ({"container": {"env": {"MODE": "b"}}, "priority": 7}, r"container\.env\.MODE, priority d"),
        ({"processes": {"disable_increase_desired": True}}, "disable_increase_desired is set"),
    ],
)
def test_a_service_that_cannot_take_a_copy_says_why(
    web: ServiceWorld, spec: dict[str, Any], said: str
) -> None:
    third = ServiceWorld(web.store, name="third")
    _settled(third, desired=1, **spec) if "capacity" not in spec else _settled_as(third, spec)
    with pytest.raises(Conflict, match=said) as refused:
        web.change("move_task", task_id="web.1.1", to="third", **WHY)
    assert refused.value.hint
    assert "third" in refused.value.hint
    assert _capacities(web, third) == [3, 1]


def _settled_as(world: ServiceWorld, spec: dict[str, Any]) -> None:
    world.create()
    world.change("scale", **spec["capacity"])
    world.settle()


def test_a_copy_that_cannot_move_says_why(web: ServiceWorld, other: ServiceWorld) -> None:
    def refused(kind: type[Exception], said: str, **move: Any) -> None:
        with pytest.raises(kind, match=said):
            web.change("move_task", **{"task_id": "web.1.1", "to": "other", **WHY, **move})

    refused(InvalidInput, "must be another service", to="web")
    refused(NotFound, "there is no service none", to="none")
    refused(NotFound, "web has no copy web.9.1", task_id="web.9.1")
    refused(NotFound, "web has no copy other.0.1", task_id="other.0.1")
    web.put("web.1.1", TaskState.DISCONNECTED)
    refused(Conflict, "is Disconnected: only a copy that is Started")
    web.put("web.1.1", TaskState.STARTED)
    web.look(CopyMove(message="drained", index=0))
    refused(Conflict, "has to leave its host", task_id="web.0.1")
    web.change("scale", min=3)
    refused(Conflict, "wants its min of 3 copies")
    web.change("scale", min=0)
    web.change("deploy", spec=service_spec(container={"command": ["sleep", "2"]}))
    refused(Conflict, "deploy 2 of service web is running")
    web.end("web.1.1")
    refused(Conflict, r"web\.1\.1 has ended")
    assert _capacities(web, other) == [3, 1]


def test_a_copy_that_ends_after_its_move_is_replaced_where_it_was_moved_to(
    web: ServiceWorld, other: ServiceWorld
) -> None:
    web.change("move_task", task_id="web.1.1", to="other", **WHY)
    web.running.remove("web.1.1")
    other.end("web.1.1", EndReason.FAILED)
    web.settle()
    other.settle()
    assert (web.running, other.running) == (["web.0.1", "web.2.1"], ["other.0.1", "other.1.2"])


def test_figures_of_a_moved_copy_are_those_of_the_service_that_has_it_now(
    web: ServiceWorld, other: ServiceWorld
) -> None:
    web.change("move_task", task_id="web.1.1", to="other", **WHY)
    notes = UsageNotes()
    notes.wanted, notes.moved = {"other": frozenset({"cpu", "requests"})}, {"web.1.1": "other"}
    now = datetime.now(UTC)
    told = [
        CopyUsage(task_id=task, service_id="web", at=now, cpu=0.5, memory=0.5)
        for task in ("web.0.1", "web.1.1")
    ]
    pushed = [
        MetricSample(service="web", task=task, name="requests", value=9)
        for task in ("web.0.1", "web.1.1")
    ]
    with web.store.write() as session:
        notes.note(session, HostReport(host_id="h1", usages=told))
        metrics.push(session, MetricBatch(source="web", samples=pushed), now=now)
    with web.store.read() as session:
        names, since = ["cpu", "requests"], now - timedelta(minutes=1)
        found = metrics.samples_of(session, "other", names, since)
        assert {(one.metric, one.task_id) for one in found} == {
            ("cpu", "web.1.1"),
            ("requests", "web.1.1"),
        }
        rest = metrics.samples_of(session, "web", names, since)
        assert [(one.metric, one.task_id) for one in rest] == [("requests", "web.0.1")]


def _kill(world: ServiceWorld, *, now: bool = False, change_id: str = "one") -> bool:
    kill = TaskKill(reason="it leaks", by="ada", now=now)
    asked = CopyKill(task_id="web.1.1", kill=kill, change_id=change_id)
    with world.store.write() as session:
        return copy_kills.order(session, asked, world.now)


def test_a_killed_copy_leaves_its_load_balancers_first(web: ServiceWorld) -> None:
    web.change("set_enabled", enabled=False)
    assert _kill(web)
    assert _kill(web)  # the one who was told so was killed
    with web.store.read() as session:
        assert targets.released_of(session, ["web.1.1"]) == {"web.1.1"}
        done = service_history.activities(session, "web")
    assert [row.sentence for row in done if row.kind == "kill"] == [
        "web.1.1 leaves its load balancers and is killed, another takes its place"
    ]
    [(task_id, stop)] = web.look().orders.stops
    assert (task_id, stop.reason, stop.message) == ("web.1.1", EndReason.KILLED, "it leaks")
    web.settle()
    assert web.running == ["web.0.1", "web.2.1", "web.1.2"]


def test_a_kill_at_once_or_without_a_service_waits_for_nobody(web: ServiceWorld) -> None:
    assert _kill(web, change_id="first")
    assert not _kill(web, now=True, change_id="second")
    web.change("delete")
    assert _kill(web, change_id="third")  # it is being stopped in any case
    web.settle()
    assert not _kill(web, change_id="fourth")


def test_other_attributes_make_no_revision_and_are_those_of_the_next_copies(
    web: ServiceWorld,
) -> None:
    web.change("set_attributes", owner="new", labels={"tier": "a", "odd": "1"}, by="ada")
    web.change("set_attributes", remove_labels=["odd"], expected_version=2)
    with pytest.raises(Conflict, match="has version 3, not 2"):
        web.change("set_attributes", owner="late", expected_version=2)
    with pytest.raises(InvalidInput, match="at most 64"):
        web.change("set_attributes", labels={f"n{number}": "" for number in range(64)})
    web.look()
    with web.store.read() as session:
        row = services.get(session, "web")
        assert (row.revision, row.version) == (1, 3)
        assert services.spec_of(session, row).labels == {"tier": "a"}
        [second, first, *_] = service_history.activities(session, "web")
    assert (first.kind, first.by, first.before["owner"]) == ("attributes", "ada", "team")
    assert second.after == {"owner": "new", "labels": {"tier": "a"}}
    assert web.running == ["web.0.1", "web.1.1", "web.2.1"]
    web.end("web.1.1")
    web.now += timedelta(seconds=5)
    web.settle()
    with web.store.read() as session:
        job = jobs.find(session, "task/web.1.2")
        assert job is not None
        assert (job.owner, job.spec["labels"]) == ("new", {"tier": "a"})
        assert len(service_copies.listing(session, "web")) == 3


def test_a_new_version_keeps_the_owner_and_labels_that_it_does_not_name(web: ServiceWorld) -> None:
    web.change("set_attributes", owner="new", labels={"tier": "a"})
    spec = service_spec(container={"command": ["sleep", "2"]})
    web.change("deploy", spec=spec, keep=["owner", "labels"])
    web.settle()
    web.change("rollback", revision=1)
    with web.store.read() as session:
        found = services.spec_of(session, services.get(session, "web"))
    assert (found.owner, found.labels, found.container.command) == (
        "new",
        {"tier": "a"},
        ["sleep"],
    )
