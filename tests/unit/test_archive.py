"""The archive: jobs are found and listed wherever they lie, and a kill anywhere loses nothing."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func
from sqlmodel import select

from fleetwide.models.batch import ChildState
from fleetwide.models.containers import (
    AttemptKey,
    AttemptRequest,
    AttemptResult,
    ContainerSpec,
    FinishJob,
    JobHeader,
    JobKind,
)
from fleetwide.models.membership import Membership
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import archive, children, job_lists, jobs
from fleetwide.store.job_lists import Wanted
from fleetwide.store.scheduler_tables import FreedHostRow
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, JobRow
from workers import archiving
from workers.archiving import Archiver

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = NOW + timedelta(days=8)
WEEK = timedelta(days=7)
DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


def header(name: str, size: int = 1) -> JobHeader:
    copy = Membership(service_id="web", index=0, revision=1, incarnation=1)
    return JobHeader(
        workflow_id=name,
        run_id="r",
        kind=JobKind(name.partition("/")[0]),
        app="even" if name.endswith("0") else "odd",
        owner="team",
        size=size,
        labels={"name": name},
        container=ContainerSpec.model_validate({"image": "apps/x:1"}),
        retry=RetryPolicy(),
        membership=copy if name == "task/4" else None,
    )


def accept(store: Store, name: str, size: int = 1, at: datetime = NOW) -> None:
    of = header(name, size)
    with store.write() as session:
        job = jobs.ensure(session, of, f"apps/x@{DIGEST}", now=at)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=at)
        wanted = [AttemptRequest(index=index) for index in range(size)]
        jobs.ensure_attempts(session, job, of, wanted, waiter, now=at)


def finish(store: Store, name: str, size: int = 1, reason: EndReason = EndReason.NORMAL) -> None:
    results = [
        AttemptResult(
            key=AttemptKey(workflow_id=name, run_id="r", index=index),
            host_id="h1",
            reason=reason,
            message="over",
            exit_code=0,
            last_lines=["bye"],
        )
        for index in range(size)
    ]
    state = TaskState.FINISHED if name.startswith("task") else "succeeded"
    end = FinishJob(job=header(name, size), state=state, attempts=results, result={})
    with store.write() as session:
        jobs.finish(session, end, now=NOW)


def there(store: Store) -> tuple[int, int]:
    """Jobs and attempts among those that run."""
    with store.read() as session:
        count_jobs, count_attempts = (
            session.exec(select(func.count()).select_from(table)).one()
            for table in (JobRow, AttemptRow)
        )
        return count_jobs, count_attempts


def names(store: Store, wanted: Wanted, **page: int) -> list[str]:
    with store.read() as session:
        return [row.workflow_id for row in job_lists.listing(session, wanted, **page)]


def test_what_finished_long_ago_leaves_and_is_still_found(store: Store) -> None:
    for number in range(5):
        accept(store, f"task/{number}")
        if number != 2:
            finish(store, f"task/{number}")
    assert Archiver(store, WEEK).move_due(NOW + timedelta(days=6)) == 0
    # The newest stays: its number would be given again.
    assert Archiver(store, WEEK).move_due(LATER) == 3
    assert there(store) == (2, 2)
    with store.read() as session:
        job = jobs.find(session, "task/0")
        assert job is not None
        assert (job.app, job.created_at, job.finished_at) == ("even", NOW, NOW)
        assert job.id is not None
        [attempt] = jobs.attempts(session, job.id)
        assert (attempt.reason, attempt.exit_code, attempt.accepted_at) == ("normal", 0, NOW)
        assert attempt.result is not None
        assert attempt.result["last_lines"] == ["bye"]


def test_a_late_word_on_an_archived_job_changes_nothing(store: Store) -> None:
    for number in (0, 1):
        accept(store, f"task/{number}")
        finish(store, f"task/{number}")
    Archiver(store, WEEK).move_due(LATER)
    finish(store, "task/0")
    assert there(store) == (1, 1)
    accept(store, "task/2")
    with store.read() as session:
        ids = [row.id for row in job_lists.listing(session, Wanted("task"))]
    assert len(ids) == len(set(ids)) == 3


def test_lists_go_on_into_the_archive_by_the_same_cursor(store: Store) -> None:
    for number in range(6):
        accept(store, f"task/{number}", at=NOW + timedelta(minutes=number))
        if number != 3:
            reason = EndReason.FAILED if number == 1 else EndReason.NORMAL
            finish(store, f"task/{number}", reason=reason)
    everything = [f"task/{number}" for number in (5, 4, 3, 2, 1, 0)]
    lists: dict[str, tuple[Wanted, list[str]]] = {
        "all": (Wanted("task"), everything),
        "finished": (
            Wanted("task", states=[TaskState.FINISHED]),
            [one for one in everything if one != "task/3"],
        ),
        "accepted": (Wanted("task", states=[TaskState.ACCEPTED, TaskState.STARTED]), ["task/3"]),
        "started": (Wanted("task", states=[TaskState.STARTED]), []),
        "failed": (Wanted("task", reasons=[EndReason.FAILED]), ["task/1"]),
        "app": (Wanted("task", app="even"), ["task/0"]),
        "owner": (Wanted("task", owner="nobody"), []),
        "label": (Wanted("task", labels={"name": "task/2"}), ["task/2"]),
        "image": (Wanted("task", image=DIGEST), everything),
        "other image": (Wanted("task", image="sha256:1"), []),
        "after": (Wanted("task", submitted_after=NOW + timedelta(minutes=4)), everything[:2]),
        "before": (Wanted("task", submitted_before=NOW + timedelta(minutes=1)), ["task/0"]),
        "batch": (Wanted("batch"), []),
        "service": (Wanted("task", service="web"), ["task/4"]),
    }
    for _ in range(2):
        assert {name: names(store, wanted) for name, (wanted, _) in lists.items()} == {
            name: found for name, (_, found) in lists.items()
        }
        Archiver(store, WEEK).move_due(LATER)
    assert there(store) == (2, 2)
    with store.read() as session:
        first = job_lists.listing(session, Wanted("task"), limit=4)
        second = job_lists.listing(session, Wanted("task"), limit=4, before=first[-1].id)
    assert [row.workflow_id for row in (*first, *second)] == everything


def test_the_host_of_a_list_is_that_of_the_newest_attempt(store: Store) -> None:
    accept(store, "task/0")
    with store.write() as session:
        row = jobs.find_attempt(session, AttemptKey(workflow_id="task/0", run_id="r"))
        assert row is not None
        row.host_id = "h1"
        session.add(row)
    assert names(store, Wanted("task", host="h1")) == ["task/0"]
    assert names(store, Wanted("task", host="h2")) == []


def test_what_an_archived_attempt_still_holds_is_given_back(store: Store) -> None:
    for name in ("task/0", "task/1"):
        accept(store, name)
        finish(store, name)
    with store.write() as session:
        row = jobs.find_attempt(session, AttemptKey(workflow_id="task/0", run_id="r"))
        assert row is not None
        row.host_id, row.reserved = "h1", True
        session.add(row)
    assert Archiver(store, WEEK).move_due(LATER) == 1
    with store.read() as session:
        assert session.exec(select(FreedHostRow.host_id)).all() == ["h1"]


def test_a_turn_moves_all_that_is_due_until_its_time_is_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "JOBS_AT_ONCE", 1)
    for number in range(26):
        accept(store, f"task/{number}")
        finish(store, f"task/{number}")
    left = [3]

    def is_over() -> bool:
        left[0] -= 1
        return left[0] < 0

    assert Archiver(store, WEEK).move_due(LATER, is_over) == 3
    assert Archiver(store, WEEK).move_due(LATER) == 22


@pytest.mark.parametrize("steps", range(5))
def test_a_kill_between_two_steps_leaves_every_child_to_be_found_once(
    store: Store, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "ATTEMPTS_AT_ONCE", 2)
    accept(store, "batch/0", size=5)
    finish(store, "batch/0", size=5)
    accept(store, "task/1")
    with store.read() as session:
        [job_id] = archive.due(session, finished_before=LATER, limit=9)
    work: list[Callable[[], object]] = [
        lambda: _in(store, lambda session: archive.copy_attempts(session, [job_id])),
        lambda: _all(store, lambda session: archive.copy_attempts(session, [job_id])),
        lambda: _in(store, lambda session: archive.copy_jobs(session, [job_id], now=LATER)),
        lambda: _in(store, lambda session: archive.drop_attempts(session, [job_id])),
    ]
    for step in work[:steps]:
        step()
    _is_whole(store)
    assert Archiver(store, WEEK).move_due(LATER) == 1
    _is_whole(store)
    assert there(store) == (1, 1)


def _in(store: Store, step: Callable[..., object]) -> object:
    with store.write() as session:
        return step(session)


def _all(store: Store, step: Callable[..., object]) -> None:
    while _in(store, step):
        pass


def _is_whole(store: Store) -> None:
    with store.read() as session:
        job = jobs.find(session, "batch/0")
        assert job is not None
        assert job.id is not None
        assert [row.index for row in jobs.attempts(session, job.id)] == [0, 1, 2, 3, 4]
        found = children.listing(session, job)
        assert [child.index for child in found] == [0, 1, 2, 3, 4]
        assert {child.state for child in found} == {ChildState.SUCCEEDED}
        assert children.total_attempts(session, job) == 5
        assert len(job_lists.listing(session, Wanted("batch"))) == 1
