"""Silent hosts and their attempts in SQL: who waits, who is given up, what the valve holds."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select

from activities.fleet import FleetActivities
from fleetwide.containers.valve import ValveRules
from fleetwide.models.containers import AttemptRequest, ContainerSpec, JobHeader, JobKind
from fleetwide.models.host_moves import HostChange, SilentAttempt, SilentHost, Verdict
from fleetwide.models.hosts import HostSpec, HostState
from fleetwide.models.retries import RetryPolicy
from fleetwide.settings import Settings
from fleetwide.store import events, hosts, jobs, standings
from fleetwide.store.session import Store
from fleetwide.store.tables import AttemptRow, HostRow

HOST, TASK = "h1", "task/silent"
RULES = ValveRules()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    with opened.write() as session:
        register(session, HOST)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def fleet(store: Store) -> FleetActivities:
    return FleetActivities(store, Settings())


def register(session: Any, name: str) -> HostRow:
    spec = HostSpec.model_validate({"host_id": name, "cpu": 4, "memory": "4GiB"})
    return hosts.register(session, spec, now=datetime.now(UTC))


def add_hosts(store: Store, count: int) -> list[str]:
    names = [f"f{number}" for number in range(count)]
    with store.write() as session:
        for name in names:
            register(session, name)
    return names


def fall_silent(store: Store, *host_ids: str) -> None:
    with store.write() as session:
        for host_id in host_ids:
            row = session.get(HostRow, host_id)
            assert row is not None
            standings.falls_silent(session, row, now=datetime.now(UTC))


def state(store: Store, host_id: str = HOST) -> str:
    with store.read() as session:
        row = session.get(HostRow, host_id)
        assert row is not None
        return row.state


def runs(store: Store) -> SilentAttempt:
    """An attempt that runs on the host, as its workflow would ask about it."""
    container = ContainerSpec.model_validate({"image": "apps/x:1"})
    header = JobHeader(
        workflow_id=TASK,
        run_id="r",
        kind=JobKind.TASK,
        app="x",
        container=container,
        retry=RetryPolicy(),
    )
    now = datetime.now(UTC)
    with store.write() as session:
        job = jobs.ensure(session, header, "apps/x@sha256:0", now=now)
        waiter = jobs.ensure_waiter(session, job, "r", "1", now=now)
        [row] = jobs.ensure_attempts(session, job, header, [AttemptRequest()], waiter, now=now)
        row.state, row.host_id, row.reserved = "Started", HOST, True
        session.add(row)
    return SilentAttempt(workflow_id=TASK, run_id="r", host_id=HOST, fenced_at=now)


def attempt(store: Store) -> AttemptRow:
    with store.read() as session:
        return session.exec(select(AttemptRow)).one()


def told(store: Store, subject: str) -> list[str]:
    with store.read() as session:
        return [event.message for event in events.after(session, 0, subject=subject)]


def test_attempts_of_a_silent_host_are_disconnected_and_come_back(store: Store) -> None:
    runs(store)
    fall_silent(store, HOST)
    assert (state(store), attempt(store).state) == ("Disconnected", "Disconnected")
    with store.write() as session:
        standings.answers(session, HOST, now=datetime.now(UTC))
        register(session, HOST)
    assert (state(store), attempt(store).state) == ("Active", "Started")


def test_an_attempt_goes_on_where_its_host_answers(store: Store, fleet: FleetActivities) -> None:
    silent = runs(store)
    assert fleet.judge_attempt(silent).verdict is Verdict.BACK
    often = silent.model_copy(update={"returns": 3})
    assert fleet.judge_attempt(often).verdict is Verdict.LOST


def test_it_is_not_given_up_before_its_host_has_surely_stopped_it(
    store: Store, fleet: FleetActivities
) -> None:
    silent = runs(store)
    fall_silent(store, HOST)
    later = datetime.now(UTC) + timedelta(seconds=60)
    assert fleet.judge_attempt(silent.model_copy(update={"fenced_at": later})).verdict is (
        Verdict.WAIT
    )
    waiting: Any = attempt(store).waiting
    assert waiting["code"] == "hostSilent"
    assert "it stops the container by itself" in waiting["sentence"]
    assert fleet.judge_attempt(silent).verdict is Verdict.LOST
    assert attempt(store).waiting is None


def test_what_ran_on_a_machine_that_is_off_is_not_waited_for(
    store: Store, fleet: FleetActivities
) -> None:
    later = datetime.now(UTC) + timedelta(seconds=600)
    silent = runs(store).model_copy(update={"fenced_at": later})
    fall_silent(store, HOST, *add_hosts(store, 6))  # the valve is closed, too
    off = HostChange(host_id=HOST, wanted=HostState.REMOVED, reason="terminated", gone=True)
    with store.write() as session:
        standings.change(session, off, now=datetime.now(UTC))
    with store.read() as session:
        assert [one.workflow_id for one in standings.left_behind(session, HOST)] == [TASK]
    assert fleet.judge_attempt(silent).verdict is Verdict.LOST
    with store.write() as session:
        standings.answers(session, HOST, now=datetime.now(UTC))
        register(session, HOST)
    fall_silent(store, HOST)
    assert fleet.judge_attempt(silent).verdict is Verdict.WAIT


def test_nothing_is_given_up_while_many_hosts_are_silent_together(
    store: Store, fleet: FleetActivities
) -> None:
    silent = runs(store)
    fall_silent(store, HOST, *add_hosts(store, 6)[:3])
    judgement = fleet.judge_attempt(silent)
    assert judgement.verdict is Verdict.WAIT
    assert judgement.sentence.startswith("4 of 7 hosts fell silent together")
    waiting: Any = attempt(store).waiting
    assert waiting["sentence"] == judgement.sentence
    with store.write() as session:
        standings.release_valve(session, "ana", "they burnt", now=datetime.now(UTC))
    assert fleet.judge_attempt(silent).verdict is Verdict.LOST


def test_a_host_is_lost_only_after_its_time_and_not_while_the_valve_is_closed(
    store: Store, fleet: FleetActivities
) -> None:
    names = add_hosts(store, 6)
    fall_silent(store, names[0])
    waits = fleet.judge_host(SilentHost(host_id=names[0]))
    assert waits.verdict is Verdict.WAIT
    assert 500 < waits.seconds < 601
    fall_silent(store, *names[1:4])
    with store.write() as session:
        for name in names[:4]:
            row = standings.standing(session, name)
            row.silent_since = datetime.now(UTC) - timedelta(seconds=700)
            session.add(row)
    held = fleet.judge_host(SilentHost(host_id=names[0]))
    assert (held.verdict, held.seconds) == (Verdict.WAIT, 30)
    with store.write() as session:
        standings.release_valve(session, "ana", "they burnt", now=datetime.now(UTC))
    assert fleet.judge_host(SilentHost(host_id=names[0])).verdict is Verdict.LOST
    assert state(store, names[0]) == HostState.LOST


def test_the_valve_closes_and_opens_with_an_event_each(store: Store) -> None:
    now = datetime.now(UTC)
    fall_silent(store, *add_hosts(store, 9)[:5])
    with store.write() as session:
        assert standings.note_valve(session, RULES, now=now).frozen
        assert standings.note_valve(session, RULES, now=now).frozen
        later = datetime.now(UTC)
        standings.release_valve(session, "ana", "they are gone", now=later)
        seen = standings.note_valve(session, RULES, now=later)
    assert not seen.frozen
    assert (seen.released_by, seen.released_because) == ("ana", "they are gone")
    first, *rest = told(store, standings.VALVE_SUBJECT)
    assert first.startswith("5 of 10 hosts fell silent together")
    assert rest == [
        "hosts that are silent now may be given up by ana: they are gone",
        "hosts may be given up as lost again",
    ]


def test_the_valve_opens_by_itself_when_the_hosts_are_back(store: Store) -> None:
    now = datetime.now(UTC)
    names = add_hosts(store, 9)[:5]
    fall_silent(store, *names)
    with store.write() as session:
        assert standings.note_valve(session, RULES, now=now).frozen
        for name in names[1:]:
            standings.answers(session, name, now=now)
            register(session, name)
        assert not standings.note_valve(session, RULES, now=now).frozen


def test_a_host_that_is_away_is_what_is_wanted_on_its_return(store: Store) -> None:
    now = datetime.now(UTC)
    fall_silent(store, HOST)
    wanted = HostChange(host_id=HOST, wanted=HostState.INACTIVE, by="ana", reason="its disk fails")
    with store.write() as session:
        standings.change(session, wanted, now=now)
    assert state(store) == HostState.DISCONNECTED
    with store.read() as session:
        assert standings.answers(session, HOST, now=now).wanted == HostState.INACTIVE
    assert told(store, f"host/{HOST}")[-1] == "Inactive is wanted by ana: its disk fails"


def test_the_rest_of_a_fence_counts_by_the_clock_of_who_asks(
    store: Store, fleet: FleetActivities
) -> None:
    silent = runs(store)
    fall_silent(store, HOST)
    ahead = {"fenced_at": datetime.now(UTC) - timedelta(hours=1), "fenced_in_seconds": 5.0}
    waits = fleet.judge_attempt(silent.model_copy(update=ahead))
    assert waits.verdict is Verdict.WAIT
    assert 5 <= waits.seconds < 6
    behind = {"fenced_at": datetime.now(UTC) + timedelta(hours=1), "fenced_in_seconds": -1.0}
    assert fleet.judge_attempt(silent.model_copy(update=behind)).verdict is Verdict.LOST


def test_who_asks_again_writes_nothing_while_nothing_changes(
    store: Store, fleet: FleetActivities, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = runs(store)
    silent = silent.model_copy(update={"fenced_at": silent.fenced_at + timedelta(hours=1)})
    fall_silent(store, HOST)
    assert fleet.judge_attempt(silent).verdict is Verdict.WAIT
    assert fleet.judge_host(SilentHost(host_id=HOST)).verdict is Verdict.WAIT

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("it writes")

    monkeypatch.setattr(store, "write", refused)
    assert fleet.judge_attempt(silent).verdict is Verdict.WAIT
    assert fleet.judge_host(SilentHost(host_id=HOST)).verdict is Verdict.WAIT
    with pytest.raises(AssertionError):
        fleet.judge_attempt(silent.model_copy(update={"fenced_at": datetime.now(UTC)}))
