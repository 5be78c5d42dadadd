"""The one gate, in SQL: what is taken, given back, refused and told, whoever asks with whom."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlmodel import select

from fleetwide.containers.disruption_rates import SystemQuota
from fleetwide.models.disturbances import Answer, Cause, Disturbed, RefusalCode
from fleetwide.models.membership import Membership
from fleetwide.models.retries import Spent
from fleetwide.store import disruptions, events, relocations
from fleetwide.store.disruption_gates import EXPIRES
from fleetwide.store.disruption_tables import DisruptionQuotaRow, DisruptionRow, RelocationRow
from fleetwide.store.service_tables import ServiceCopyRow, ServiceRevisionRow, ServiceRow
from fleetwide.store.session import Store
from tests.eviction_jobs import AT_ONCE, NOW, ONE_AWAY, add, asks, enter, second


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = Store.open(database_url)
    yield opened
    opened.engine.dispose()


def granted(answer: Answer) -> list[int]:
    return [one.attempt_id for one in answer.granted]


def codes(answer: Answer) -> dict[int, RefusalCode]:
    return {one.attempt_id: one.code for one in answer.refused}


def told(store: Store, subject: str, kind: str) -> list[str]:
    with store.read() as session:
        found = events.after(session, 0, subject=subject)
        return [event.message for event in found if event.kind == kind]


def count(store: Store, table: type[Any]) -> int:
    with store.read() as session:
        return len(session.exec(select(table)).all())


def test_two_hosts_drained_at_once_never_break_a_budget(store: Store) -> None:
    attempts = add(store, "batch/b", ONE_AWAY, size=8)
    for _ in range(4):
        together = Barrier(2)

        def drain(host: int) -> list[int]:
            together.wait(30)  # noqa: B023 - both threads end within this turn
            return granted(asks(store, attempts[host::2]))

        with ThreadPoolExecutor(2) as threads:
            gone = [one for found in threads.map(drain, (0, 1)) for one in found]
        assert len(gone) == 1
        enter(store, gone[0], "KillInitiated")
        assert granted(asks(store, attempts)) == []
        enter(store, gone[0], "Started")  # as if another attempt had taken its place
        with store.write() as session:
            session.delete(session.get(DisruptionRow, gone[0]))


def test_a_silent_hosts_tasks_count_as_missing(store: Store) -> None:
    attempts = add(store, "batch/b", ONE_AWAY, size=4)
    enter(store, attempts[0], "Disconnected", left_state="Started")
    answer = asks(store, attempts[1:])
    assert codes(answer) == dict.fromkeys(attempts[1:], RefusalCode.TOO_FEW_HEALTHY)
    assert answer.refused[0].numbers == {"healthy": 3, "desired": 4, "minHealthy": 3}


def test_asking_again_costs_nothing_and_is_not_needed_to_hold_it(store: Store) -> None:
    attempts = add(store, "batch/b", ONE_AWAY, size=4)
    first, second_one = attempts[:2]
    assert granted(asks(store, [first])) == [first]
    assert granted(asks(store, [first, second_one], now=second(1))) == [first]
    assert granted(asks(store, [second_one], now=second(60))) == []
    assert len(told(store, "batch/b", "disruption")) == 1
    with store.read() as session:
        quota = session.get(DisruptionQuotaRow, "system")
        assert quota is not None
        assert quota.tokens == 500  # 499, and a second's more


def test_what_nobody_could_be_told_is_given_back(store: Store) -> None:
    first, other, *_ = add(store, "batch/b", {**ONE_AWAY, "rate": hourly(1)}, size=4)
    small = Store(store.engine, quota=SystemQuota(1, 0))
    assert granted(asks(small, [first])) == [first]
    with small.write() as session:
        disruptions.give_back(session, [first], now=NOW)
        quota = session.get(DisruptionQuotaRow, "system")
        assert quota is not None
        assert quota.tokens == 1
    assert granted(asks(small, [other])) == [other]
    assert codes(asks(small, [first])) == {first: RefusalCode.TOO_FEW_HEALTHY}


def hourly(times: int) -> dict[str, Any]:
    return {"count_per_interval": {"count": times, "seconds": 3600}}


def test_who_asked_and_died_leaks_nothing(store: Store) -> None:
    first, other, *_ = add(store, "batch/b", {**ONE_AWAY, "rate": hourly(1)}, size=4)
    assert granted(asks(store, [first])) == [first]
    just_before = NOW + EXPIRES - timedelta(seconds=1)
    assert granted(asks(store, [other], now=just_before)) == []
    assert granted(asks(store, [other], now=NOW + EXPIRES)) == [other]
    assert count(store, DisruptionRow) == 1


def test_one_that_stayed_after_all_may_be_let_go_anew(store: Store) -> None:
    first, *_ = add(store, "batch/b", ONE_AWAY, size=4)
    assert granted(asks(store, [first])) == [first]
    again = NOW + EXPIRES
    assert granted(asks(store, [first], now=again)) == [first]
    with store.read() as session:
        row = session.get(DisruptionRow, first)
        assert row is not None
        assert row.granted_at == again


def test_an_owners_time_goes_on_whoever_else_wants_the_place(store: Store) -> None:
    [one] = add(store, "task/t", {"policy": {"self_managed": {"relocation_seconds": 600}}})
    asks(store, [one])
    asks(store, [one], now=second(100), cause=Cause.PREEMPTION)
    with store.write() as session:
        disruptions.give_back(session, [one], now=second(200))
    assert granted(asks(store, [one], now=second(600))) == [one]


def test_one_that_heard_it_holds_its_part_until_it_has_ended(store: Store) -> None:
    first, other, *_ = add(store, "batch/b", {**ONE_AWAY, "rate": hourly(2)}, size=4)
    assert granted(asks(store, [first])) == [first]
    enter(store, first, "KillInitiated")
    late = NOW + EXPIRES * 2
    assert granted(asks(store, [other], now=late)) == []
    # Its end takes nothing back: the child has no attempt that runs yet.
    enter(store, first, "Finished", reason="hostDraining", finished_at=late)
    assert codes(asks(store, [other], now=late)) == {other: RefusalCode.TOO_FEW_HEALTHY}
    enter(store, first, "Started")
    assert granted(asks(store, [other], now=late)) == [other]
    enter(store, other, "KillInitiated")
    third = asks(store, [first], now=second(3000))
    assert codes(third) == {first: RefusalCode.TOO_FEW_HEALTHY}


def test_a_used_rate_counts_also_what_has_ended(store: Store) -> None:
    budget = {"policy": {"relocation_limit": {"times": 9}}, "rate": hourly(1)}
    first, other = add(store, "batch/b", budget, size=2)
    assert granted(asks(store, [first])) == [first]
    enter(store, first, "Finished", reason="hostDraining")
    answer = asks(store, [other], now=second(3000))
    assert codes(answer) == {other: RefusalCode.RATE_USED}
    assert answer.refused[0].until == second(3780)
    assert granted(asks(store, [other], now=second(3780))) == [other]


def test_force_moves_everything_and_is_told_with_who_and_why(store: Store) -> None:
    never = {**ONE_AWAY, "rate": hourly(0)}
    attempts = add(store, "batch/b", never, size=3)
    assert granted(asks(store, attempts, forced=True)) == attempts
    audited = told(store, "batch/b", "disruptionForced")
    assert audited[0] == (
        "[0] attempt 1 is moved by force, whatever its budget says (drain by ana: its disk fails)"
    )
    assert len(audited) == 3


def test_a_task_is_moved_as_often_as_its_lineage_allows(store: Store) -> None:
    limit = {"policy": {"relocation_limit": {"times": 2}}}
    [once] = add(store, "task/once", limit, spent=Spent(eviction=1, preemption=5))
    [twice] = add(store, "task/twice", limit, spent=Spent(eviction=2))
    answer = asks(store, [once, twice])
    assert granted(answer) == [once]
    assert codes(answer) == {twice: RefusalCode.RELOCATION_LIMIT}
    assert answer.refused[0].sentence == "it was moved 2 times, and may be 2 times"


def test_an_owner_is_told_once_and_has_its_time(store: Store) -> None:
    [one] = add(store, "task/t", {"policy": {"self_managed": {"relocation_seconds": 600}}})
    for seconds in (0, 5, 599):
        answer = asks(store, [one], now=second(seconds))
        assert answer.refused[0].until == second(600)
    [planned] = told(store, "task/t", "relocationPlanned")
    assert "its owner has until 2026-03-04 12:10:00 UTC to move it" in planned
    with store.read() as session:
        plan = session.get(RelocationRow, one)
        assert plan is not None
        assert (plan.host_id, plan.since, plan.not_before) == ("h0", NOW, second(600))
    assert granted(asks(store, [one], now=second(600))) == [one]


def test_who_names_no_budget_is_preempted_at_once_and_drained_after_its_time(store: Store) -> None:
    [drained] = add(store, "task/drained", None)
    [preempted] = add(store, "task/preempted", None)
    refused = asks(store, [drained]).refused[0]
    assert refused.until == second(432_000 * 1.2)
    assert granted(asks(store, [preempted], cause=Cause.PREEMPTION)) == [preempted]
    with store.write() as session:
        disruptions.give_back(session, [drained, preempted], now=NOW)
    # The host of one is to be emptied all the same; the place of the other is needed no more.
    assert count(store, RelocationRow) == 1


def test_a_host_that_takes_work_again_is_left_by_nobody(store: Store) -> None:
    notice = {"policy": {"self_managed": {"relocation_seconds": 600}}}
    [one] = add(store, "task/t", notice)
    asks(store, [one])
    with store.write() as session:
        relocations.forget_host(session, "h0")
    assert asks(store, [one], now=second(700)).refused[0].until == second(1300)


def test_the_platform_moves_only_so_many_of_all_jobs(store: Store) -> None:
    attempts = [add(store, f"task/{name}", AT_ONCE)[0] for name in "abc"]
    small = Store(store.engine, quota=SystemQuota(2, 0.1))
    answer = asks(small, attempts)
    assert granted(answer) == attempts[:2]
    assert codes(answer) == {attempts[2]: RefusalCode.SYSTEM_QUOTA}
    assert answer.refused[0].until == second(10)
    assert granted(asks(small, attempts[2:], now=second(10))) == attempts[2:]


def test_what_is_refused_takes_nothing(store: Store) -> None:
    closed = {**ONE_AWAY, "windows": [{"days": ["friday"]}], "rate": hourly(1)}
    attempts = add(store, "batch/b", closed, size=3)
    answer = asks(store, attempts)
    assert set(codes(answer).values()) == {RefusalCode.WINDOW_CLOSED}
    assert count(store, DisruptionRow) == 0
    opens = answer.refused[0].until
    friday = datetime(2026, 3, 6, tzinfo=UTC)
    assert opens == friday
    assert granted(asks(store, attempts, now=friday)) == attempts[:1]


def test_copies_of_a_service_are_one_job(store: Store) -> None:
    copies = [copy(store, index) for index in range(4)]
    service(store, desired=4, budget=ONE_AWAY)
    [first] = granted(asks(store, copies[:2]))
    assert codes(asks(store, copies[2:])) == dict.fromkeys(copies[2:], RefusalCode.TOO_FEW_HEALTHY)
    enter(store, first, "Finished", reason="hostDraining")
    # Nothing has taken its place yet: the service wants four.
    assert granted(asks(store, copies[2:])) == []
    assert told(store, "service/web", "disruption") == [
        "task/web.0.1 attempt 1 is moved (drain by ana: its disk fails)"
    ]


def test_a_copy_that_its_service_stops_is_missing_already(store: Store) -> None:
    copies = [copy(store, index) for index in range(4)]
    service(store, desired=4, budget=ONE_AWAY)
    with store.write() as session:
        leaving = ServiceCopyRow(
            service_id="web", index=3, incarnation=1, revision=1, task_id="web.3.1",
            created_at=NOW, stop={"reason": "scaledDown"},
        )  # fmt: skip
        session.add(leaving)
    assert granted(asks(store, copies[:1])) == []


def copy(store: Store, index: int) -> int:
    member = Membership(service_id="web", index=index, revision=1, incarnation=1)
    return add(store, f"task/{member.task_id}", None, membership=member)[0]


def service(store: Store, *, desired: int, budget: dict[str, Any]) -> None:
    with store.write() as session:
        session.add(
            ServiceRow(
                service_id="web", workflow_id="service/web", run_id="r", state="Active", app="web",
                desired=desired, most=desired, created_at=NOW, updated_at=NOW,
            )
        )  # fmt: skip
        spec = {"disruption_budget": budget}
        session.add(ServiceRevisionRow(service_id="web", number=1, template=1, spec=spec, at=NOW))


def test_what_is_over_or_unknown_is_neither_let_go_nor_refused(store: Store) -> None:
    [one] = add(store, "task/t", AT_ONCE)
    with store.read() as session:
        [wanted] = disruptions.disturbed(session, [one, 4711])
    enter(store, one, "Finished", reason="normal")
    with store.write() as session:
        gone = Disturbed(attempt_id=4711, kind="task", key=wanted.key)
        answer = disruptions.ask(session, [wanted, gone], cause=Cause.DRAIN, by="", now=NOW)
    assert answer == Answer()
