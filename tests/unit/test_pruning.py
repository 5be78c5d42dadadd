"""What is old is forgotten in small steps, and whoever would miss something of it is told."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func
from sqlmodel import select

from fleetwide.errors import CursorGone
from fleetwide.models.containers import (
    AttemptKey,
    AttemptRequest,
    AttemptResult,
    ContainerSpec,
    FinishJob,
    JobHeader,
    JobKind,
)
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import events, jobs, pruning
from fleetwide.store.archive_tables import ArchivedAttemptRow
from fleetwide.store.session import Store
from fleetwide.store.tables import EventRow
from workers.archiving import Archiver
from workers.pruning import Pruner

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
MONTH, YEAR = 30 * DAY, 365 * DAY


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


def tell(store: Store, *ages: float, kind: str = "told", subject: str = "host/h1") -> None:
    """An event for each age, in days."""
    for age in ages:
        with store.write() as session:
            events.append(session, subject, kind, f"{age} days ago", at=NOW - age * DAY)


def seqs(store: Store) -> list[int]:
    with store.read() as session:
        return [one.seq or 0 for one in events.after(session, 0, limit=10_000)]


def run_task(store: Store, name: str, *, over: bool, age: float) -> None:
    at = NOW - age * DAY
    header = JobHeader(
        workflow_id=name,
        run_id="r",
        kind=JobKind.TASK,
        app="x",
        container=ContainerSpec.model_validate({"image": "apps/x:1"}),
        retry=RetryPolicy(),
    )
    key = AttemptKey(workflow_id=name, run_id="r")
    ended = AttemptResult(key=key, reason=EndReason.NORMAL, message="", finished_at=at)
    with store.write() as session:
        job = jobs.ensure(session, header, "apps/x@sha256:0", now=at)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=at)
        jobs.ensure_attempts(session, job, header, [AttemptRequest()], waiter, now=at)
        if over:
            end = FinishJob(job=header, state=TaskState.FINISHED, attempts=[ended], result={})
            jobs.finish(session, end, now=at)


def test_old_events_go_and_cursors_among_them_are_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "EVENTS_AT_ONCE", 3)
    tell(store, 90, 80, 70, 60, 50, 20, 10)
    first, *_, last_old, young, newest = seqs(store)
    assert Pruner(store, events=MONTH).prune(NOW) == (5, 0)
    assert seqs(store) == [young, newest]
    with store.read() as session:
        for fine in (0, last_old, young, newest):
            events.require(session, fine)
        after = events.after(session, last_old)
        assert [one.seq for one in after] == [young, newest]
        for gone in (first, last_old - 1):
            with pytest.raises(CursorGone, match="are deleted"):
                events.require(session, gone)
    assert Pruner(store, events=MONTH).prune(NOW) == (0, 0)


def test_a_kill_after_any_batch_leaves_no_untold_gap(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "EVENTS_AT_ONCE", 2)
    tell(store, *([60] * 6), 1)
    known = seqs(store)
    over = iter([False, True])  # one batch, then the turn is over
    assert Pruner(store, events=MONTH).prune(NOW, lambda: next(over, True)) == (2, 0)
    assert seqs(store) == known[2:]
    with store.read() as session:
        events.require(session, known[1])
        with pytest.raises(CursorGone):
            events.require(session, known[0])


def test_what_nothing_else_keeps_and_the_newest_event_stay(store: Store) -> None:
    tell(store, 90, kind="forgotten", subject="bake/k")
    tell(store, 90)
    tell(store, 80)
    kept, _, newest = seqs(store)
    assert Pruner(store, events=MONTH).prune(NOW) == (2, 0)
    assert seqs(store) == [kept, newest]
    with store.read() as session, pytest.raises(CursorGone):
        events.require(session, kept)  # it is there, and the one behind it is not


def test_a_job_that_runs_keeps_its_events_until_its_record_goes(store: Store) -> None:
    run_task(store, "task/long", over=False, age=100)
    run_task(store, "task/short", over=True, age=100)
    tell(store, 1)
    Pruner(store, events=MONTH).prune(NOW)
    with store.read() as session:
        assert len(events.after(session, 0, subject="task/long")) == 2
        assert events.after(session, 0, subject="task/short") == []
    run_task(store, "task/long", over=True, age=0)
    run_task(store, "task/new", over=False, age=0)
    much_later = NOW + 2 * YEAR
    pruner = Pruner(store, events=3 * YEAR, archive=YEAR)
    assert Archiver(store, 7 * DAY).move_due(NOW + 10 * DAY) == 2
    assert pruner.prune(NOW + 300 * DAY) == (0, 0)
    assert pruner.prune(much_later) == (0, 2)
    with store.read() as session:
        assert jobs.find(session, "task/long") is None
        assert jobs.find(session, "task/new") is not None
        assert session.exec(select(func.count()).select_from(ArchivedAttemptRow)).one() == 0
        left = events.after(session, 0, subject="task/long")
        assert {one.at for one in left} == {NOW}  # behind the horizon nothing is taken out


def test_nothing_goes_where_it_is_kept_for_ever(store: Store) -> None:
    tell(store, 9000, 1)
    assert Pruner(store).prune(NOW) == (0, 0)
    with store.read() as session:
        assert session.exec(select(func.count()).select_from(EventRow)).one() == 2
