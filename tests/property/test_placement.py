"""Placement: a plan is safe, complete, the same every time, and what the obvious program does."""

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.containers.placement import (
    Blocker,
    Decision,
    Engine,
    Fleet,
    Host,
    Plan,
    Request,
    Shape,
    Snapshot,
    plan,
    reason,
)
from fleetwide.models.task_states import PendingCode
from tests.property.placement_reference import Reference, Spot, suits, takes
from tests.property.placement_snapshots import snapshots

SNAPSHOTS = snapshots()


def spots_after(snapshot: Snapshot, made: Plan) -> dict[str, Spot]:
    """The hosts with all that is on them when the plan is done."""
    spots = {spot.host.host_id: spot for spot in Reference(snapshot).spots}
    requests = {request.request_id: request for request in snapshot.requests}
    for decision in made.decisions:
        spots[decision.host_id].put(requests[decision.request_id])
    return spots


def by_kind(snapshot: Snapshot, made: Plan) -> Counter[tuple[Shape, str, str]]:
    requests = {request.request_id: request for request in snapshot.requests}
    return Counter(
        (requests[number].shape, requests[number].job, host) for number, host, _ in made.decisions
    )


@given(SNAPSHOTS)
@settings(max_examples=120)
def test_the_plan_is_that_of_the_obvious_program(snapshot: Snapshot) -> None:
    reference = Reference(snapshot)
    expected = reference.run()
    made = plan(snapshot)
    assert by_kind(snapshot, made) == expected
    assert made.held == reference.held


@given(SNAPSHOTS)
@settings(max_examples=40)
def test_no_host_gets_more_than_it_has_free(snapshot: Snapshot) -> None:
    spots = spots_after(snapshot, plan(snapshot))
    assert all(amount >= 0 for spot in spots.values() for amount in spot.free)


@given(SNAPSHOTS)
@settings(max_examples=40)
def test_no_gpu_is_given_twice(snapshot: Snapshot) -> None:
    requests = {request.request_id: request for request in snapshot.requests}
    given_out: Counter[tuple[str, int]] = Counter()
    for decision in plan(snapshot).decisions:
        assert len(decision.gpus) == requests[decision.request_id].shape.amounts.gpus
        given_out.update((decision.host_id, device) for device in decision.gpus)
    for (host_id, device), times in given_out.items():
        host = snapshot.fleet.hosts[snapshot.fleet.index[host_id]]
        assert times == 1
        assert host.free_gpus is not None
        assert device in host.free_gpus


@given(SNAPSHOTS)
@settings(max_examples=40)
def test_every_request_has_one_decision_or_one_explanation(snapshot: Snapshot) -> None:
    made = plan(snapshot)
    told = Counter([decision.request_id for decision in made.decisions] + list(made.waiting))
    assert told == Counter(request.request_id for request in snapshot.requests)


@given(SNAPSHOTS)
@settings(max_examples=40)
def test_hard_constraints_hold_when_the_plan_is_done(snapshot: Snapshot) -> None:
    requests = {request.request_id: request for request in snapshot.requests}
    made = plan(snapshot)
    spots = spots_after(snapshot, made)
    for number, host_id, _ in made.decisions:
        request, spot = requests[number], spots[host_id]
        assert suits(spot.host, request.shape)
        spot.take_back(request)
        assert takes(spot, request)
        spot.put(request)


@given(SNAPSHOTS)
@settings(max_examples=40)
def test_a_gang_starts_whole_or_not_at_all(snapshot: Snapshot) -> None:
    placed = {decision.request_id for decision in plan(snapshot).decisions}
    for name in {request.gang.name for request in snapshot.requests if request.gang}:
        members = [each for each in snapshot.requests if each.gang and each.gang.name == name]
        there = [each for each in members if each.request_id in placed]
        assert len(there) in {0, len(members)}
        assert not there or (there[0].gang and len(there) >= there[0].gang.size)


@given(SNAPSHOTS)
@settings(max_examples=40)
def test_nothing_waits_that_would_fit(snapshot: Snapshot) -> None:
    made = plan(snapshot)
    spots = spots_after(snapshot, made)
    for request in snapshot.requests:
        explained = made.waiting.get(request.request_id)
        if explained is None or request.gang is not None or made.held is not None:
            continue
        if explained.code is PendingCode.ABOVE_CAPACITY_LIMIT:
            continue
        if request.job and request.shape.hard.zone_balance:
            continue  # that a full zone may keep it back is what the reference shows
        assert not any(takes(spot, request) for spot in spots.values())


@given(SNAPSHOTS, st.randoms())
@settings(max_examples=40)
def test_the_order_in_which_hosts_are_read_changes_nothing(
    snapshot: Snapshot, random: st.DataObject
) -> None:
    shuffled: list[Host] = list(snapshot.fleet.hosts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = Snapshot(
        Fleet.of(shuffled), snapshot.requests, snapshot.occupants, snapshot.groups, now=snapshot.now
    )
    assert plan(again).decisions == plan(snapshot).decisions


@given(SNAPSHOTS)
@settings(max_examples=40)
def test_explanations_count_every_host_once_and_can_be_told(snapshot: Snapshot) -> None:
    made = plan(snapshot)
    for request_id, explained in made.waiting.items():
        told = reason(explained)
        assert sum(explained.ruled_out.values()) == explained.hosts == snapshot.fleet.size
        assert told.sentence
        assert told.code is explained.code
        request = next(each for each in snapshot.requests if each.request_id == request_id)
        assert told.numbers["cpu"] == request.shape.amounts.cpu_milli / 1000
    for code in PendingCode:
        simple = {PendingCode.HOSTS_FULL, PendingCode.NO_HOSTS, PendingCode.CONSTRAINTS_UNMET}
        waits = [each for each in made.waiting.values() if each.code is code]
        if code in simple and not made.held:
            assert all(Blocker.NONE not in each.ruled_out for each in waits if not each.extra)


@given(SNAPSHOTS)
@settings(max_examples=40)
def test_an_avoided_host_is_a_last_resort(snapshot: Snapshot) -> None:
    for request in snapshot.requests:
        alone = Request(0, Shape(request.shape.amounts, avoid_hosts=request.shape.avoid_hosts))
        made = plan(Snapshot(snapshot.fleet, (alone,)))
        for decision in made.decisions:
            if decision.host_id in alone.shape.avoid_hosts:
                others = [
                    host
                    for host in snapshot.fleet.hosts
                    if host.host_id not in alone.shape.avoid_hosts
                ]
                without: tuple[Decision, ...] = plan(Snapshot(Fleet.of(others), (alone,))).decisions
                assert without == ()


@given(SNAPSHOTS)
@settings(max_examples=60)
def test_an_engine_that_was_told_what_changed_decides_as_a_fresh_one(snapshot: Snapshot) -> None:
    kept = Engine(
        Fleet.of(replace(host, free=host.total, tasks=0) for host in snapshot.fleet.hosts)
    )
    kept.decide(snapshot.requests)
    for host in snapshot.fleet.hosts:
        there = [each for each in snapshot.occupants if each.host_id == host.host_id]
        kept.look_again(host, there)
    moved = kept.moved_to(Fleet.of(kept.seen()))
    fresh = Engine(snapshot.fleet, snapshot.occupants).decide(snapshot.requests).decisions
    assert moved.decide(snapshot.requests).decisions == fresh
    assert kept.decide(snapshot.requests).decisions == fresh
