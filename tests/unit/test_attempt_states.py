"""Changes of attempts in SQL: each is one event, races lose cleanly, on both databases."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from fleetwide.models.containers import (
    AttemptKey,
    AttemptRequest,
    AttemptResult,
    ContainerSpec,
    FinishJob,
    JobHeader,
    JobKind,
)
from fleetwide.models.evictions import AttemptKill
from fleetwide.models.health import HealthReport, HealthStatus
from fleetwide.models.hosts import ContainerReport, HostSpec, HostState
from fleetwide.models.retries import Lineage, RetryPolicy, Spent
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.store import attempt_health, attempt_states, events, hosts, jobs
from fleetwide.store.attempt_states import Change, Outcome
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, HostRow

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KEY = AttemptKey(workflow_id="task/1", run_id="r")
HEADER = JobHeader(
    workflow_id="task/1",
    run_id="r",
    kind=JobKind.TASK,
    app="x",
    container=ContainerSpec.model_validate({"image": "apps/x:1"}),
    retry=RetryPolicy(),
)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    with opened.write() as session:
        spec = HostSpec.model_validate({"host_id": "h1", "cpu": 4, "memory": "4GiB"})
        hosts.register(session, spec, now=NOW)
        job = jobs.ensure(session, HEADER, "apps/x@sha256:0", now=NOW)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=NOW)
        lineage = Lineage(follows=1, spent=Spent(eviction=1), delay_seconds=2)
        wanted = [AttemptRequest(lineage=lineage)]
        jobs.ensure_attempts(session, job, HEADER, wanted, waiter, now=NOW)
    yield opened
    opened.engine.dispose()


def attempt(store: Store) -> AttemptRow:
    with store.read() as session:
        row = jobs.find_attempt(session, KEY)
    assert row is not None
    return row


def move(store: Store, to: TaskState, **more: object) -> Outcome:
    with store.write() as session:
        row = jobs.find_attempt(session, KEY)
        assert row is not None
        return attempt_states.move(session, "task/1", row, Change(to, NOW, **more))  # type: ignore[arg-type]


def launch(store: Store) -> None:
    move(store, TaskState.LAUNCHED, values={"host_id": "h1", "reserved": True})


def story(store: Store) -> list[tuple[str, str | None]]:
    """Every change of the attempt that the stream tells: state and reason."""
    with store.read() as session:
        told = events.after(session, 0, subject="task/1")
    return [(one.data["state"], one.data.get("reason")) for one in told if one.kind == "state"]


def test_each_change_is_one_event_and_skipped_states_are_filled_in(store: Store) -> None:
    launch(store)
    assert move(store, TaskState.STARTED, started_at=NOW) is Outcome.MOVED
    assert move(store, TaskState.STARTED) is Outcome.SAME
    assert move(store, TaskState.LAUNCHED) is Outcome.DROPPED
    assert story(store) == [
        ("Accepted", None),
        ("Launched", None),
        ("StartInitiated", "filledIn"),
        ("Started", None),
    ]
    row = attempt(store)
    assert (row.version, row.started_at) == (3, NOW)
    assert Lineage.model_validate(row.lineage).spent == Spent(eviction=1)


def test_the_first_reason_of_a_kill_stays_and_the_end_brings_its_own(store: Store) -> None:
    launch(store)
    for reason in (EndReason.EVICTED, EndReason.KILLED):
        with store.write() as session:
            jobs.record_kill(session, AttemptKill(key=KEY, reason=reason, message="go"), now=NOW)
    row = attempt(store)
    assert (row.state, row.reason, row.message) == ("KillInitiated", "evicted", "go")
    result = AttemptResult(
        key=KEY, reason=EndReason.EVICTED, message="go", exit_code=143, started_at=NOW
    )
    with store.write() as session:
        assert jobs.record_attempt(session, result, now=NOW) is Outcome.MOVED
        assert jobs.record_attempt(session, result, now=NOW) is Outcome.SAME
    assert story(store)[2:] == [("KillInitiated", "evicted"), ("Finished", "evicted")]
    assert not attempt(store).reserved


def test_a_silent_host_leaves_its_attempts_disconnected_until_it_is_back(store: Store) -> None:
    launch(store)
    move(store, TaskState.STARTED, started_at=NOW)

    def host_is(state: HostState) -> None:
        with store.write() as session:
            row = session.get(HostRow, "h1")
            assert row is not None
            hosts.set_state(session, row, state, now=NOW)

    host_is(HostState.DISCONNECTED)
    row = attempt(store)
    assert (row.state, row.left_state, row.reserved) == ("Disconnected", "Started", True)
    host_is(HostState.ACTIVE)
    row = attempt(store)
    assert (row.state, row.left_state) == ("Started", None)
    host_is(HostState.DISCONNECTED)
    lost = AttemptResult(key=KEY, reason=EndReason.LOST, message="gone")
    with store.write() as session:
        jobs.record_attempt(session, lost, now=NOW)
    assert [state for state, _ in story(store)][4:] == [
        "Disconnected",
        "Started",
        "Disconnected",
        "Finished",
    ]


def test_the_end_of_a_job_ends_what_was_left_of_it_with_an_event(store: Store) -> None:
    with store.write() as session:
        request = FinishJob(job=HEADER, state=TaskState.FINISHED, result={})
        jobs.finish(session, request, now=NOW)
    assert story(store) == [("Accepted", None), ("Finished", "killed")]


def test_updates_that_race_are_each_applied_once_and_in_order(store: Store) -> None:
    launch(store)
    start = threading.Barrier(4)
    outcomes: list[Outcome] = []
    wanted = [TaskState.START_INITIATED, TaskState.STARTED, TaskState.KILL_INITIATED]

    def race(number: int) -> None:
        start.wait()
        outcomes.extend(move(store, wanted[(number + turn) % 3]) for turn in range(6))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [state for state, _ in story(store)]
    order = [state.value for state in TaskState if state.value in told]
    assert told == order
    assert len(outcomes) == 24
    assert 1 <= outcomes.count(Outcome.MOVED) <= 3
    assert attempt(store).version == 2 + outcomes.count(Outcome.MOVED)


def test_a_report_of_a_host_moves_its_attempt(store: Store) -> None:
    launch(store)
    since = NOW + timedelta(seconds=3)
    states = (TaskState.STARTED, TaskState.KILL_INITIATED, TaskState.STARTED)
    for state in states:
        stopping = state is TaskState.KILL_INITIATED
        reason = EndReason.RUNTIME_LIMIT_EXCEEDED if stopping else None
        report = ContainerReport(key=KEY, state=state, since=since, reason=reason)
        with store.write() as session:
            jobs.mark(session, report, now=since)
    row = attempt(store)
    assert (row.state, row.reason, row.started_at) == (
        "KillInitiated",
        "runtimeLimitExceeded",
        since,
    )


@pytest.mark.parametrize("skew", [300, -300])
def test_times_of_a_host_whose_clock_is_wrong_are_put_in_order(store: Store, skew: int) -> None:
    def at(seconds: float) -> datetime:
        return NOW + timedelta(seconds=seconds)

    move(store, TaskState.LAUNCHED, values={"host_id": "h1", "reserved": True, "launched_at": NOW})
    report = ContainerReport(key=KEY, state=TaskState.STARTED, since=at(skew + 1))
    times = {"started_at": at(skew + 1), "finished_at": at(skew + 4)}
    ended = AttemptResult(key=KEY, reason=EndReason.NORMAL, message="ok", exit_code=0, **times)
    with store.write() as session:
        jobs.mark(session, report, now=at(2))
        jobs.record_attempt(session, ended, now=at(5))
        told = [one.at for one in events.after(session, 0, subject="task/1")]
    row = attempt(store)
    assert row.started_at
    assert row.finished_at
    assert row.started_at >= NOW
    assert row.finished_at - row.started_at == timedelta(seconds=3)
    assert row.finished_at <= at(5)
    assert told == sorted(told)


def test_when_a_health_was_heard_of_is_told_by_the_platforms_clock(store: Store) -> None:
    """The host's clock is an hour ahead: who waits for a copy to be healthy does not wait for that."""
    launch(store)
    told = [(HealthStatus.HEALTHY, 0), (HealthStatus.HEALTHY, 0), (HealthStatus.HEALTHY, 7)]
    heard = []
    for heard_after, (status, since) in enumerate(told):
        ahead = NOW + timedelta(hours=1, seconds=since)
        health = HealthReport(status=status, since=ahead)
        report = ContainerReport(key=KEY, state=TaskState.STARTED, since=ahead, health=health)
        assert attempt_health.differs(attempt(store), report) == (heard_after != 1)
        with store.write() as session:
            attempt_health.write(session, report, now=NOW + timedelta(seconds=heard_after))
        kept = HealthReport.model_validate(attempt(store).health)
        assert (kept.status, kept.since) == (status, ahead)
        heard.append(kept.heard_at)
    assert heard == [NOW, NOW, NOW + timedelta(seconds=2)], "it had been unwell in between"
