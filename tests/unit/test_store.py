"""The store: writes are safe to repeat, races lose cleanly, reservations never drift."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from fleetwide.containers.placement import Decision, plan
from fleetwide.errors import Conflict, NotFound
from fleetwide.models.baseos import Architecture, Distribution, OSImageSpec
from fleetwide.models.containers import (
    AttemptKey,
    AttemptRequest,
    AttemptResult,
    ContainerSpec,
    FinishJob,
    JobHeader,
    JobKind,
)
from fleetwide.models.hosts import ContainerReport, HostSpec
from fleetwide.models.os_releases import Channel, OSRelease, ReleaseState
from fleetwide.models.retries import RetryPolicy
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.registry.digests import digest_of
from fleetwide.store import channels, events, hosts, jobs, migrate, releases, scheduling
from fleetwide.store.channels import Move
from fleetwide.store.session import Store
from tests.placing import commit

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MIB = 1024**2


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


def header(name: str = "task/1", cpu: float = 1) -> JobHeader:
    container = ContainerSpec.model_validate(
        {"image": "apps/x:1", "resources": {"cpu": cpu, "memory": "64MiB"}}
    )
    return JobHeader(
        workflow_id=name,
        run_id="r",
        kind=JobKind.TASK,
        app="x",
        container=container,
        retry=RetryPolicy(),
    )


def accept(store: Store, of: JobHeader, count: int = 1) -> None:
    with store.write() as session:
        job = jobs.ensure(session, of, "apps/x@sha256:0", now=NOW)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=NOW)
        wanted = [AttemptRequest(index=index) for index in range(count)]
        jobs.ensure_attempts(session, job, of, wanted, waiter, now=NOW)


def offer(store: Store, cpu: float = 4) -> None:
    spec = HostSpec.model_validate({"host_id": "h1", "cpu": cpu, "memory": "4GiB"})
    with store.write() as session:
        hosts.register(session, spec, now=NOW)


def place_once(store: Store) -> int:
    with store.read() as session:
        snapshot = scheduling.snapshot(session)
    with store.write() as session:
        return len(commit(session, snapshot, plan(snapshot).decisions, now=NOW).launched)


def ended(name: str = "task/1", index: int = 0) -> AttemptResult:
    key = AttemptKey(workflow_id=name, run_id="r", index=index)
    return AttemptResult(key=key, reason=EndReason.NORMAL, message="ok", exit_code=0)


def reserved(store: Store) -> dict[str, tuple[int, int]]:
    with store.read() as session:
        return hosts.reserved(session)


def test_migrations_go_up_down_and_up_and_leave_no_drift(store: Store) -> None:
    assert migrate.drift(store.engine) == []
    migrate.downgrade(store.engine)
    assert migrate.drift(store.engine) != []
    migrate.upgrade(store.engine)
    assert migrate.drift(store.engine) == []


def test_a_naive_time_is_refused_and_a_stored_one_keeps_its_zone(store: Store) -> None:
    accept(store, header())
    with store.read() as session:
        row = jobs.find(session, "task/1")
        assert row is not None
        assert row.created_at == NOW
        assert row.created_at.utcoffset() == timedelta(0)


def test_a_request_that_is_repeated_adds_nothing(store: Store) -> None:
    for _ in range(3):
        accept(store, header(), count=2)
    with store.read() as session:
        row = jobs.find(session, "task/1")
        assert row is not None
        assert row.id is not None
        assert len(jobs.attempts(session, row.id)) == 2
        assert events.newest(session) == 3  # the job and its attempts


def test_an_end_is_booked_once_and_frees_the_host(store: Store) -> None:
    offer(store)
    accept(store, header())
    assert place_once(store) == 1
    assert reserved(store) == {"h1": (1000, 64 * MIB)}
    other = ended().model_copy(update={"reason": EndReason.FAILED, "exit_code": 9})
    with store.write() as session:
        jobs.record_attempt(session, ended(), now=NOW)
        jobs.record_attempt(session, other, now=NOW)
    assert reserved(store) == {}
    with store.read() as session:
        row = jobs.find_attempt(session, ended().key)
        assert row is not None
        assert (row.reason, row.exit_code) == ("normal", 0)


def test_the_end_of_a_job_frees_what_never_ran_and_what_still_ran(store: Store) -> None:
    offer(store, cpu=2)
    accept(store, header(), count=5)
    assert place_once(store) == 2
    request = FinishJob(job=header(), state=TaskState.FINISHED, attempts=[ended()], result={})
    for _ in range(2):
        with store.write() as session:
            jobs.finish(session, request, now=NOW)
    assert reserved(store) == {}
    with store.read() as session:
        assert not scheduling.work(session)[0]
        assert scheduling.undelivered(session) == []
        assert jobs.live(session) == []


def test_an_attempt_moves_forward_only(store: Store) -> None:
    offer(store)
    accept(store, header())
    place_once(store)
    with store.write() as session:
        row = jobs.find_attempt(session, ended().key)
        assert row is not None
        for state in (TaskState.STARTED, TaskState.LAUNCHED):
            report = ContainerReport(key=ended().key, state=state, since=NOW)
            jobs.mark(session, report, now=NOW)
        assert row.state == TaskState.STARTED


def test_a_plan_on_old_figures_loses(store: Store) -> None:
    offer(store, cpu=1)
    accept(store, header("task/1"))
    accept(store, header("task/2"))
    with store.read() as session:
        old = scheduling.snapshot(session)
    assert place_once(store) == 1
    second = (Decision(old.requests[1].request_id, "h1"),)
    with store.write() as session:
        assert not commit(session, old, second, now=NOW).launched
    assert reserved(store) == {"h1": (1000, 64 * MIB)}


def test_schedulers_that_race_never_fill_a_host_twice(store: Store) -> None:
    offer(store, cpu=4)
    for number in range(12):
        accept(store, header(f"task/{number}"))
    start = threading.Barrier(4)

    def race() -> None:
        start.wait()
        for _ in range(5):
            place_once(store)

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reserved(store) == {"h1": (4000, 4 * 64 * MIB)}


def release(version: str = "1") -> OSRelease:
    return OSRelease(
        name="baseos",
        version=version,
        workflow_id=f"os/baseos/{version}",
        state=ReleaseState.CANDIDATE,
        distribution=Distribution.DEBIAN,
        suite="bookworm",
        architecture=Architecture.AMD64,
        repository="baseos/baseos",
        image_digest=digest_of(version.encode()),
        created_at=NOW,
    )


SPEC = OSImageSpec(name="baseos", suite="bookworm")


def test_a_version_is_claimed_by_one_run_and_taken_over_after_a_failure(store: Store) -> None:
    with store.write() as session:
        releases.reserve(session, release(), SPEC, "run-1", now=NOW)
        releases.reserve(session, release(), SPEC, "run-1", now=NOW)
    with store.write() as session, pytest.raises(Conflict, match="exists already"):
        releases.reserve(session, release(), SPEC, "run-2", now=NOW)
    failed = release().model_copy(update={"state": ReleaseState.FAILED})
    with store.write() as session:
        releases.save(session, failed, now=NOW)
        releases.reserve(session, release(), SPEC, "run-2", now=NOW)


def test_a_channel_is_resolved_and_what_is_missing_is_told(store: Store) -> None:
    with store.write() as session:
        releases.reserve(session, release(), SPEC, "run-1", now=NOW)
        releases.save(session, release(), now=NOW)
        assert channels.point(session, Move("baseos", Channel.CANDIDATE, "1"), now=NOW) is None
    with store.read() as session:
        found = releases.resolve(session, "baseos", "candidate")
        assert releases.to_model(session, found).channels == [Channel.CANDIDATE]
        assert releases.resolve(session, "baseos", release().image_digest or "").version == "1"
        with pytest.raises(NotFound, match="there are baseos:candidate"):
            releases.resolve(session, "baseos", "stable")
        with pytest.raises(NotFound, match="line nothing has none yet"):
            releases.resolve(session, "nothing", "stable")


def test_a_release_without_an_image_is_resolved_and_one_that_is_being_built_is_not(
    store: Store,
) -> None:
    machine = release().model_copy(update={"image_digest": None})
    with store.write() as session:
        releases.reserve(session, machine, SPEC, "run-1", now=NOW)
        with pytest.raises(NotFound):
            releases.resolve(session, "baseos", "1")
        releases.save(session, machine, now=NOW)
        assert releases.resolve(session, "baseos", "1").image_digest is None


def keyed(store: Store, version: str, key: str, state: ReleaseState) -> None:
    made = release(version).model_copy(update={"build_key": key, "state": state})
    with store.write() as session:
        releases.reserve(session, made, SPEC, f"run-{version}", now=NOW)
        releases.set_build_key(session, f"run-{version}", key)
        if state is not ReleaseState.BUILDING:
            releases.save(session, made, now=NOW)


@pytest.mark.parametrize("state", [*ReleaseState])
def test_a_build_is_needless_where_its_bytes_are_there_or_on_their_way(
    store: Store, state: ReleaseState
) -> None:
    keyed(store, "1", "key", state)
    with store.write() as session:
        found = releases.same_build(session, "baseos", "key", "run-2")
        assert releases.same_build(session, "baseos", "key", "run-1") is None
        assert releases.same_build(session, "baseos", "other", "run-2") is None
        assert releases.same_build(session, "another-line", "key", "run-2") is None
    assert (found is None) == (state in releases.GONE)


def test_a_claim_that_came_to_nothing_is_given_back_and_told(store: Store) -> None:
    keyed(store, "1", "key", ReleaseState.CANDIDATE)
    keyed(store, "2", "key", ReleaseState.BUILDING)
    with store.write() as session:
        row = releases.of_run(session, "os/baseos/2", "run-2")
        assert row is not None
        releases.give_up(session, row, "1", now=NOW)
    with store.read() as session:
        assert releases.versions(session, "baseos") == ["1"]
        [*_, last] = events.after(session, 0, subject="os/baseos/2")
    assert (last.kind, "nothing has changed since baseos 1" in last.message) == ("noChange", True)


def test_the_newest_release_is_one_that_may_be_used(store: Store) -> None:
    for version, state in (("1", "stable"), ("2", "held"), ("3", "revoked"), ("4", "building")):
        keyed(store, version, version, ReleaseState(state))
    with store.read() as session:
        last = releases.latest(session, "baseos")
        assert [row.version for row in releases.finished(session, "baseos")] == ["2", "1"]
    assert last is not None
    assert last.version == "2"
