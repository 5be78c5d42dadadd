"""Rounds of batch on the placement engine's own hosts."""

from random import Random

from fleetwide.batch.scheduling.fleet_room import FleetRoom
from fleetwide.batch.scheduling.scheduler import Scheduler
from fleetwide.batch.scheduling.tree import QueueNode, Tree
from fleetwide.batch.scheduling.waiting import WaitCode
from fleetwide.batch.scheduling.work import Pending, Snapshot
from fleetwide.containers.placement import Amounts, Fleet, Host, Shape, Traits, Wishes
from tests.property.batch_worlds import AT_ONCE, USUAL, check, requeue, row_of, tree_of

QUEUE = Tree([QueueNode("root", None), QueueNode("root/q", "root")])


def scheduler_on(tree: Tree, sizes: dict[str, Amounts], zones: dict[str, str]) -> Scheduler:
    fleet = Fleet.of(
        Host(name, total=size, free=size, traits=Traits(zone=zones.get(name, "a")))
        for name, size in sizes.items()
    )
    return Scheduler(Snapshot(tree, sizes, rules=AT_ONCE), FleetRoom(fleet))


def test_constraints_hold_and_what_no_host_meets_is_told() -> None:
    sizes = {"h1": Amounts(8, 8), "h2": Amounts(8, 8)}
    scheduler = scheduler_on(QUEUE, sizes, {"h2": "b"})
    there = Shape(Amounts(1, 1), hard=Wishes(zones=frozenset({"b"})))
    nowhere = Shape(Amounts(1, 1), hard=Wishes(zones=frozenset({"c"})))
    scheduler.add(Pending("b", "root/q", there, count=20))
    scheduler.add(Pending("c", "root/q", nowhere))
    made = scheduler.round(0.0)
    assert {(start.host, start.tasks) for start in made.starts} == {("h2", 8)}
    [never] = [key for key in scheduler.state.rows if key.job == "c"]
    assert scheduler.why(never, 0.0).code is WaitCode.NEVER_FITS


def test_nothing_is_over_committed_while_work_comes_and_is_preempted() -> None:
    preempted = 0
    for seed in range(12):
        random = Random(seed)
        sizes = {f"h{number}": Amounts(8, 8) for number in range(3)}
        tree = tree_of(random, USUAL, 12)
        scheduler = scheduler_on(tree, sizes, {})
        for number in range(16):
            scheduler.add(row_of(random, USUAL, tree, number, float(number)))
            made = scheduler.round(float(number))
            check(scheduler)
            preempted += len(made.evictions)
            requeue(scheduler, made)
    assert preempted > 0
