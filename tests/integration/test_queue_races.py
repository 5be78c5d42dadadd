"""Queues changed at the same moment, on both databases: right alone and wrong together is refused."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from typing import Any

import pytest

from fleetwide.errors import UserError
from fleetwide.models.capacity_requests import CapacityRequestSpec, CapacityStep
from fleetwide.models.containers import JobHeader, JobKind
from fleetwide.models.queues import QueueChangeSet
from fleetwide.store import capacity_requests, jobs, queue_changes, queues
from fleetwide.store.queue_changes import Deed
from fleetwide.store.session import Store

pytestmark = pytest.mark.integration
NOW = datetime.now(UTC)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


def put(store: Store, name: str, **specs: Any) -> None:
    edits = [{"path": path.replace("__", "/"), "spec": spec} for path, spec in specs.items()]
    wanted = QueueChangeSet.model_validate({"changes": edits, "reason": "a test"})
    with store.write() as session:
        queue_changes.apply(session, wanted, Deed(name, "me", "a test"), now=NOW)


def at_once(*works: Any) -> list[str | None]:
    """What each says that it was refused for, all of them begun at one moment."""
    ready = Barrier(len(works))

    def run(work: Any) -> str | None:
        ready.wait(30)
        try:
            work()
        except UserError as fault:
            return fault.message
        return None

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(run, works))


def guarantee(store: Store, path: str) -> float | None:
    with store.read() as session:
        return queues.specs(session)[path].guarantee.cpu


def test_two_siblings_that_grow_at_once_do_not_both_get_what_is_there_once(store: Store) -> None:
    put(store, "first", top={"guarantee": {"cpu": 4}}, top__a={}, top__b={})
    grown = {"guarantee": {"cpu": 3}}
    told = at_once(
        lambda: put(store, "a", top__a=grown), lambda: put(store, "b", top__b=grown)
    )  # fmt: skip
    [refused] = [each for each in told if each is not None]
    assert "guaranteed 6 CPU together" in refused
    assert sorted(guarantee(store, each) or 0 for each in ("top/a", "top/b")) == [0, 3]


def test_one_request_applied_by_two_workers_at_once_is_applied_once(store: Store) -> None:
    put(store, "first", ml={"guarantee": {"cpu": 1}})
    asked = {"queue": "ml", "guarantee": {"cpu": 2}, "by": "ana", "reason": "x"}
    spec = CapacityRequestSpec.model_validate(asked)
    step = CapacityStep(request_id="r", run_id="1", spec=spec, by="olga", reason="x")

    def apply() -> None:
        with store.write() as session:
            capacity_requests.change(session, step, now=NOW)

    assert at_once(apply, apply, apply) == [None] * 3
    assert guarantee(store, "ml") == 3


def test_a_queue_is_not_removed_under_a_job_that_is_booked_at_the_moment(store: Store) -> None:
    """Either the removal sees the job and is refused, or the job goes where others went."""
    header = {
        "workflow_id": "batch/1", "run_id": "r", "kind": JobKind.BATCH, "app": "x", "retry": {},
        "queue": "ml", "container": {"image": "apps/hello:1"},
    }  # fmt: skip
    put(store, "first", ml={})

    def book() -> None:
        with store.write() as session:
            jobs.ensure(session, JobHeader.model_validate(header), "apps/hello@x", now=NOW)

    def remove() -> None:
        with store.write() as session:
            queue_changes.remove(session, "ml", None, Deed("gone", "me", "x"), now=NOW)

    _, refused = at_once(book, remove)
    with store.read() as session:
        row = jobs.find(session, "batch/1")
        assert row is not None
        assert row.queue == ("ml" if refused else "default")
        assert (row.queue in queues.specs(session)) is True
