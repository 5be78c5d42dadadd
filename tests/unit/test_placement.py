"""Placement, case by case: groups, preemption, gangs, explanations, what-if, tables."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from fleetwide.containers.placement import (
    MIB,
    Amounts,
    Blocker,
    CapacityGroup,
    Dimension,
    Engine,
    Fit,
    Fleet,
    Gang,
    Host,
    Lifecycle,
    Move,
    Occupant,
    Offer,
    Plan,
    Request,
    RunningTask,
    Shape,
    Snapshot,
    Tier,
    Traits,
    Wishes,
    cheapest_to_empty,
    plan,
    reason,
    scale_up,
)
from fleetwide.containers.placement.amounts import NUMBER, SCALE, UNIT
from fleetwide.containers.placement.blockers import (
    BY_CONSTRAINT,
    BY_OTHERS,
    BY_SIZE,
    BY_USE,
    PHRASE,
)
from fleetwide.containers.placement.sentences import SENTENCE
from fleetwide.containers.placement.specs import traits_of, wishes_of
from fleetwide.models.placement import Constraints, ConstraintSet
from fleetwide.models.task_states import PendingCode

ONE = Shape(Amounts(1000, 100 * MIB))
BIG = Shape(Amounts(4000, 100 * MIB))


def host(name: str, cpu: int = 4, **more: object) -> Host:
    total = Amounts(cpu * 1000, 4096 * MIB)
    return replace(Host(name, total, total), **more)  # type: ignore[arg-type]


def requests(count: int, shape: Shape = ONE, first: int = 0, **more: object) -> list[Request]:
    one = replace(Request(0, shape), **more)  # type: ignore[arg-type]
    return [replace(one, request_id=first + number) for number in range(count)]


def where(made: Plan) -> dict[int, str]:
    return {decision.request_id: decision.host_id for decision in made.decisions}


def test_every_code_has_its_words() -> None:
    assert set(PHRASE) == set(Blocker)
    assert set(SENTENCE) == set(PendingCode)
    assert set(NUMBER) == set(UNIT) == set(SCALE) == set(Dimension)
    assert set(Blocker) - {Blocker.NONE} == BY_CONSTRAINT | BY_SIZE | BY_OTHERS | BY_USE


def test_packing_fills_a_host_and_spreading_takes_the_emptiest() -> None:
    fleet = Fleet.of([host("h1"), host("h2")])
    packed = plan(Snapshot(fleet, tuple(requests(4))))
    assert set(where(packed).values()) == {"h1"}
    spread = plan(Snapshot(fleet, tuple(requests(4, replace(ONE, fit=Fit.SPREAD)))))
    assert sorted(where(spread).values()) == ["h1", "h1", "h2", "h2"]


def test_a_host_that_holds_the_image_or_never_fails_is_preferred() -> None:
    fleet = Fleet.of([host("h1"), host("h2", images=frozenset({"i"}))])
    assert where(plan(Snapshot(fleet, tuple(requests(1, replace(ONE, image="i")))))) == {0: "h2"}
    fleet = Fleet.of([host("h1", quality=0.2), host("h2")])
    assert where(plan(Snapshot(fleet, tuple(requests(1))))) == {0: "h2"}


def test_jobs_keep_apart_whichever_came_first() -> None:
    fleet = Fleet.of([host("h1"), host("h2")])
    shy = replace(ONE, hard=Wishes(not_with_jobs=frozenset({"loud"})))
    there = (Occupant("h1", shy, "shy"),)
    made = plan(Snapshot(fleet, tuple(requests(1, job="loud")), there))
    assert where(made) == {0: "h2"}
    made = plan(Snapshot(fleet, tuple(requests(1, shy)), (Occupant("h1", ONE, "loud"),)))
    assert where(made) == {0: "h2"}


def test_the_group_that_has_the_least_of_its_guarantee_is_served_first() -> None:
    fleet = Fleet.of([host("h1", 4)])
    guarantee = {Dimension.CPU: 4000}
    groups = (
        CapacityGroup("a", guarantee=guarantee, used=Amounts(3000)),
        CapacityGroup("b", guarantee=guarantee),
    )
    asked = (*requests(4, group="a"), *requests(4, first=4, group="b"))
    placed = where(plan(Snapshot(fleet, asked, groups=groups)))
    assert len(set(placed) & set(range(4, 8))) == 3
    critical = (replace(groups[0], tier=Tier.CRITICAL), groups[1])
    assert set(where(plan(Snapshot(fleet, asked, groups=critical)))) == {0, 1, 2, 3}


def test_weights_share_what_is_beyond_the_guarantees() -> None:
    groups = (CapacityGroup("a", weight=3.0), CapacityGroup("b", weight=1.0))
    asked = (*requests(8, group="a"), *requests(8, first=8, group="b"))
    placed = where(plan(Snapshot(Fleet.of([host("h1", 8)]), asked, groups=groups)))
    assert len([number for number in placed if number < 8]) == 6


def test_a_cap_holds_on_an_idle_fleet_and_says_so() -> None:
    groups = (CapacityGroup("a", cap={Dimension.CPU: 2000}),)
    made = plan(Snapshot(Fleet.of([host("h1")]), tuple(requests(3, group="a")), groups=groups))
    assert len(made.decisions) == 2
    told = reason(made.waiting[2])
    assert told.code is PendingCode.ABOVE_CAPACITY_LIMIT
    assert (told.numbers["cap.cpu"], told.numbers["used.cpu"]) == (2, 2)
    assert "capacity group a may still use, which uses 2 of at most 2 CPU" in told.sentence


def lent() -> Snapshot:
    """A full host on which a flexible group sits on what a critical one is guaranteed."""
    groups = (
        CapacityGroup("own", Tier.CRITICAL, guarantee={Dimension.CPU: 2000}),
        CapacityGroup("guest", guarantee={Dimension.CPU: 2000}, used=Amounts(4000)),
    )
    running = tuple(
        RunningTask(f"t{number}", "h1", Amounts(1000, 100 * MIB), "guest", started=number)
        for number in range(4)
    )
    full = host("h1", free=Amounts(0, 4096 * MIB), tasks=4)
    return Snapshot(Fleet.of([full]), tuple(requests(4, group="own")), (), groups, running)


def test_what_was_lent_is_taken_back_from_the_youngest_as_far_as_the_guarantee_goes() -> None:
    made = plan(lent())
    assert made.decisions == ()
    assert [each.victims for each in made.preemptions] == [("t3",), ("t2",)]
    assert all(each.host_id == "h1" for each in made.preemptions)


def test_nobody_is_asked_to_leave_twice_for_the_same_room() -> None:
    snapshot = lent()
    leaving = tuple(
        replace(task, leaving=task.task_id in {"t3", "t2"}) for task in snapshot.running
    )
    assert plan(replace(snapshot, running=leaving)).preemptions == ()


def test_a_gang_that_waits_holds_its_room_for_a_while_only() -> None:
    fleet = Fleet.of([host("h1", 4, free=Amounts(2000, 4096 * MIB))])
    gang = Gang("g", size=3, hold_seconds=60, held_since=0.0)
    asked = (*requests(3, gang=gang), *requests(1, first=3, rank=1))
    held = plan(Snapshot(fleet, asked, now=59.0))
    assert held.held == "g"
    assert held.decisions == ()
    later = plan(Snapshot(fleet, asked, now=60.0))
    assert later.held is None
    assert set(where(later)) == {3}
    assert reason(later.waiting[0]).numbers["gangFits"] == 2


def test_a_gang_that_is_not_all_there_waits() -> None:
    gang = Gang("g", size=3)
    made = plan(Snapshot(Fleet.of([host("h1")]), tuple(requests(2, gang=gang))))
    told = reason(made.waiting[0])
    assert told.code is PendingCode.GANG_INCOMPLETE
    assert "gang of 3, of which 2" in told.sentence


def test_an_explanation_counts_hosts_by_reason_and_names_the_nearest_miss() -> None:
    fleet = Fleet.of(
        [
            host("h1", 8, free=Amounts(3000, 4096 * MIB)),
            host("h2", 8, free=Amounts(1000, 4096 * MIB)),
            host("h3", 2),
            host("h4", 8, traits=Traits(lifecycle=Lifecycle.REMOVABLE)),
            host("h5", 8, traits=Traits(taints=frozenset({"gpu"}))),
        ]
    )
    offers = (Offer("small", host("new", 2)), Offer("large", host("new", 8)))
    explained = plan(Snapshot(fleet, tuple(requests(1, BIG)), offers=offers)).waiting[0]
    assert explained.ruled_out == {
        Blocker.NOT_TAKING_WORK: 1,
        Blocker.TAINTED: 1,
        Blocker.TOO_SMALL_CPU: 1,
        Blocker.FULL_CPU: 2,
    }
    assert explained.new_hosts == ("large",)
    told = reason(explained)
    assert told.code is PendingCode.HOSTS_FULL
    assert told.numbers["short.cpu"] == 1.0
    assert told.sentence == (
        "asks for 4 CPU and 100 MiB; no host has that free now, the nearest of 2 hosts, h1, has "
        "3 CPU and 4096 MiB; 1 take no work, 1 have a taint that it does not tolerate, 1 have too "
        "few CPUs in all; a new host would help: large"
    )


def test_a_dry_run_says_which_new_hosts_are_worth_their_price() -> None:
    asked = requests(6, BIG)
    made = plan(Snapshot(Fleet.of([host("h1", 1)]), tuple(asked)))
    offers = (
        Offer("tiny", host("x", 2), price=0.1),
        Offer("medium", host("x", 4), price=1.0),
        Offer("large", host("x", 12), price=2.5),
    )
    wanted = scale_up(asked, made, offers, most=10)
    assert wanted.hosts == {"large": 2}
    assert wanted.left == ()
    assert len(scale_up(asked, made, offers[:1], most=10).left) == 6
    assert len(scale_up(asked, made, offers[2:], most=1).left) == 3


def test_the_cheapest_host_to_empty_is_one_whose_tasks_fit_elsewhere() -> None:
    fleet = Fleet.of([host("h1", 4, tasks=1, free=Amounts(3000, 4096 * MIB)), host("h2", tasks=1)])
    moves = [Move(Request(1, ONE), "h1", cost=5.0), Move(Request(2, ONE), "h2", cost=1.0)]
    found = cheapest_to_empty(Snapshot(fleet), moves, most=2)
    assert [(each.host_id, each.cost) for each in found] == [("h2", 1.0), ("h1", 5.0)]
    assert found[0].targets == {2: "h1"}
    fixed = [replace(moves[0]), replace(moves[1], movable=False)]
    assert [each.host_id for each in cheapest_to_empty(Snapshot(fleet), fixed, 2)] == ["h1"]
    big = [moves[0], replace(moves[1], request=Request(2, BIG))]
    assert [each.host_id for each in cheapest_to_empty(Snapshot(fleet), big, 2)] == ["h1"]


def test_an_engine_that_goes_on_gives_what_a_fresh_one_gives() -> None:
    fleet = Fleet.of([host(f"h{number}", 4) for number in range(20)])
    engine = Engine(fleet)
    first = requests(30, replace(ONE, hard=Wishes(unique_host=True)), job="j")
    placed = where(engine.decide(first))
    assert len(placed) == 20
    engine.finish(first[3], placed[3])
    assert where(engine.decide(first[20:22])) == {20: placed[3]}
    engine.finish(first[20], placed[3])
    for number in (*range(3), *range(4, 20)):
        engine.finish(first[number], placed[number])
    assert (engine.board.free == fleet.free).all()
    assert not any(engine.board.marks.values())


def test_gpus_come_back_to_the_host_that_had_them() -> None:
    gpu = host(
        "h1", total=Amounts(4000, 4096 * MIB, gpus=4), free=Amounts(4000, 4096 * MIB, gpus=3)
    )
    engine = Engine(Fleet.of([replace(gpu, free_gpus=(0, 2, 3))]))
    asked = requests(2, Shape(Amounts(1000, MIB, gpus=2)))
    (decision,) = engine.decide(asked).decisions
    assert decision.gpus == (0, 2)
    engine.finish(asked[0], "h1", decision.gpus)
    assert engine.board.devices == {0: (0, 2, 3)}


def test_constraints_are_read_in_titus_spelling_and_unknown_ones_are_refused() -> None:
    given = {"uniqueHost": "true", "AVAILABILITYZONE": "a", "not_label": {"disk": "hdd"}}
    read = wishes_of(ConstraintSet.model_validate(given), {"net": "fast"})
    assert read == Wishes(
        unique_host=True,
        zones=frozenset({"a"}),
        not_labels=frozenset({("disk", "hdd")}),
        labels=frozenset({("net", "fast")}),
    )
    with pytest.raises(ValidationError, match="'rack' is not a constraint; there are activeHost, "):
        Constraints.model_validate({"hard": {"rack": "r1"}})
    with pytest.raises(ValidationError, match="given twice"):
        Constraints.model_validate({"soft": {"uniqueHost": True, "unique_host": True}})


def test_a_hosts_labels_tell_its_zone_its_type_and_its_taints() -> None:
    labels = {"zone": "a", "machine-type": "m1", "taint.gpu": "yes"}
    traits = traits_of(labels)
    assert (traits.zone, traits.machine_type, traits.taints) == ("a", "m1", frozenset({"gpu"}))
    assert traits.labels == frozenset(labels.items())
