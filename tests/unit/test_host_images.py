"""Which images hosts hold: told in reports, written when changed, preferred by placement."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from fleetwide.containers.placement import plan
from fleetwide.errors import DockerUnavailable
from fleetwide.models.containers import AttemptRequest, ContainerSpec, JobHeader, JobKind
from fleetwide.models.hosts import HostSpec, image_mark
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.task_states import EndReason
from fleetwide.providers import held_images
from fleetwide.providers.held_images import HeldImages
from fleetwide.store import host_images, host_quality, hosts, jobs, scheduling
from fleetwide.store.session import Store
from fleetwide.store.tables import HostRow

NOW = datetime(2026, 1, 2, tzinfo=UTC)
IMAGE = f"apps/x@sha256:{'ab' * 32}"


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


def offer(store: Store, *names: str) -> None:
    with store.write() as session:
        for name in names:
            spec = HostSpec.model_validate({"host_id": name, "cpu": 4, "memory": "4GiB"})
            hosts.register(session, spec, now=NOW)


def version(store: Store, host_id: str) -> int:
    with store.read() as session:
        row = session.get(HostRow, host_id)
        assert row is not None
        return row.version


def accept(store: Store) -> None:
    container = ContainerSpec.model_validate({"image": "apps/x:1"})
    header = JobHeader(
        workflow_id="task/1",
        run_id="r",
        kind=JobKind.TASK,
        app="x",
        container=container,
        retry=RetryPolicy(),
    )
    with store.write() as session:
        job = jobs.ensure(session, header, IMAGE, now=NOW)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=NOW)
        jobs.ensure_attempts(session, job, header, [AttemptRequest()], waiter, now=NOW)


def test_a_change_is_written_once_and_makes_the_scheduler_look_again(store: Store) -> None:
    offer(store, "h1")
    before = version(store, "h1")
    for held, changes in ((["a", "b"], True), (["b", "a"], False), (["b"], True), ([], True)):
        with store.read() as session:
            assert host_images.differ(session, "h1", held) is changes
        with store.write() as session:
            assert host_images.write(session, "h1", held) is changes
            assert host_images.of(session, "h1") == sorted(held)
    assert version(store, "h1") == before + 3
    with store.read() as session:
        assert not host_images.differ(session, "h1", None)


def test_a_host_that_has_the_image_is_preferred(store: Store) -> None:
    offer(store, "h1", "h2", "h3")
    accept(store)
    with store.write() as session:
        host_images.write(session, "h2", [image_mark(IMAGE), "other"])
    with store.read() as session:
        snapshot = scheduling.snapshot(session, now=NOW)
    assert [each.host_id for each in plan(snapshot).decisions] == ["h2"]


def test_a_host_that_failed_lately_is_the_second_choice_for_an_hour(store: Store) -> None:
    offer(store, "h1", "h2")
    accept(store)
    with store.write() as session:
        host_quality.note(session, "h1", EndReason.CRASHED, at=NOW)
        host_quality.note(session, "h2", EndReason.FAILED, at=NOW)
        host_quality.note(session, None, EndReason.CRASHED, at=NOW)
    for minutes, expected in ((1, "h2"), (61, "h1")):
        now = NOW + timedelta(minutes=minutes)
        with store.read() as session:
            snapshot = scheduling.snapshot(session, now=now)
        assert [each.host_id for each in plan(snapshot).decisions] == [expected]


def test_a_failed_look_keeps_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_images, "LOOK_SECONDS", 0.0)
    answers: list[list[str] | DockerUnavailable] = [
        DockerUnavailable("away"),
        ["a"],
        DockerUnavailable("away"),
    ]

    def look() -> list[str]:
        answer = answers.pop(0)
        if isinstance(answer, DockerUnavailable):
            raise answer
        return answer

    images = HeldImages(look)
    assert [images.now() for _ in range(3)] == [None, ["a"], ["a"]]
