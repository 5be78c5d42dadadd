"""Rounds of batch: nothing is over-committed, nothing waits in vain, the same comes of the same."""

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.batch.scheduling.ledger import need_of
from fleetwide.batch.scheduling.scheduler import Scheduler, schedule
from fleetwide.batch.scheduling.tree import Ordering, QueueNode, Tree
from fleetwide.batch.scheduling.work import Pending, Rules, Snapshot, TaskKey, Tier
from fleetwide.containers.placement import Amounts, Dimension, Shape
from tests.property.batch_worlds import AT_ONCE, Kind, check, requeue, row_of, where, world

SEEDS = st.integers(0, 2**32)
USUAL = Kind()


def busy(seed: int, kind: Kind = USUAL, rules: Rules = AT_ONCE) -> tuple[Random, Scheduler, float]:
    """A world some rounds on: rows came, tasks ended, some were preempted."""
    random, scheduler = world(seed, kind, rules)
    now = 0.0
    for number in range(random.randint(3, 14)):
        scheduler.add(row_of(random, kind, scheduler.state.tree, number, now))
        requeue(scheduler, scheduler.round(now))
        for key in [key for key, task in scheduler.state.tasks.items() if not task.row.gang]:
            if random.random() < 0.2:
                scheduler.end(key)
        now += random.choice([1.0, 10.0])
    return random, scheduler, now


@given(SEEDS)
@settings(max_examples=25)
def test_hosts_and_queues_never_have_more_than_they_may_and_gangs_are_whole(seed: int) -> None:
    _, scheduler, now = busy(seed, rules=replace(AT_ONCE, overdue_seconds=15.0))
    for number in range(4):
        scheduler.round(now + number)  # those who leave are still there
        check(scheduler)
        for key in [*scheduler.state.leaving][:1]:
            requeue_one(scheduler, key)


def requeue_one(scheduler: Scheduler, key: TaskKey) -> None:
    if not scheduler.state.tasks[key].row.gang:
        scheduler.end(key)


@given(SEEDS)
@settings(max_examples=25)
def test_the_scheduler_decides_as_the_pure_function_of_its_snapshot(seed: int) -> None:
    """Whatever it has kept from earlier rounds, and in whatever order things are told."""
    random, scheduler, now = busy(seed, rules=replace(AT_ONCE, overdue_seconds=25.0))
    scheduler.add(row_of(random, USUAL, scheduler.state.tree, 900, now))
    snapshot = scheduler.snapshot()
    shuffled = replace(
        snapshot,
        hosts=dict(random.sample(sorted(snapshot.hosts.items()), len(snapshot.hosts))),
        pending=tuple(random.sample(snapshot.pending, len(snapshot.pending))),
        running=tuple(random.sample(snapshot.running, len(snapshot.running))),
    )
    assert scheduler.round(now) == schedule(snapshot, now) == schedule(shuffled, now)


@given(SEEDS)
@settings(max_examples=25)
def test_nothing_waits_that_fits_its_limits_and_a_host(seed: int) -> None:
    """But for what would delay a reserved job, is pinned, or stands behind a strict head."""
    _, scheduler, now = busy(seed)
    made = scheduler.round(now)
    state = scheduler.state
    if made.reservation is not None or made.pins:
        made = schedule(replace(scheduler.snapshot(), reserved=None), now)
    if made.pins:
        return
    for row in state.rows.values():
        strict = state.tree[row.queue].ordering is Ordering.STRICT
        held_back = made.reservation is not None
        if strict or held_back or state.ledger.allowed(row, row.unit) < row.unit:
            continue
        free = state.room.free
        rooms = [
            min([row.unit, *(int(free[each, host]) // amount for each, amount in need_of(row))])
            for host in range(free.shape[1])
        ]
        assert sum(max(each, 0) for each in rooms) < row.unit


@given(SEEDS)
@settings(max_examples=30)
def test_only_who_has_borrowed_loses_to_another_queue(seed: int) -> None:
    random, scheduler, now = busy(seed)
    for number in range(5):
        scheduler.add(row_of(random, USUAL, scheduler.state.tree, 100 + number, now))
    ledger, tree = scheduler.state.ledger, scheduler.state.tree
    before = [list(used) for used in ledger.used]
    tasks = dict(scheduler.state.tasks)
    for eviction in scheduler.round(now).evictions:
        victim = tasks.get(eviction.task)
        if victim is None:  # it started in this very round
            continue
        asking = next(row for row in scheduler.state.rows.values() if row.key == eviction.by)
        assert victim.row.preemptible
        if eviction.tier is Tier.PRIORITY:
            assert victim.row.queue == asking.queue
            assert victim.row.priority < asking.priority
            continue
        above = tree.common_ancestor(asking.queue, victim.row.queue)
        line = [node.path for node in (tree[victim.row.queue], *tree.ancestors(victim.row.queue))]
        losing = tree.number(line[line.index(above.path) - 1])
        used = [max(one, two) for one, two in zip(before[losing], ledger.used[losing], strict=True)]
        assert any(used[each] > ledger.guarantees[losing][each] for each in range(len(used)))


@given(SEEDS)
@settings(max_examples=25)
def test_all_settles_when_nothing_comes_and_nothing_ends(seed: int) -> None:
    """No state is seen twice, and in the end nothing is preempted any more."""
    random, scheduler = world(seed, USUAL)
    for number in range(random.randint(4, 16)):
        scheduler.add(row_of(random, USUAL, scheduler.state.tree, number, float(number)))
        requeue(scheduler, scheduler.round(float(number)))
    seen = set()
    for number in range(100, 100 + 10 * len(scheduler.state.rows) + 5):
        made = scheduler.round(float(number))
        requeue(scheduler, made)
        if not made.starts and not made.evictions:
            return
        state = (where(scheduler), frozenset(scheduler.state.rows), tuple(scheduler.state.pins))
        assert state not in seen
        seen.add(state)
    raise AssertionError("it goes on")


@given(st.integers(1, 6), st.integers(1, 8), st.booleans())
@settings(max_examples=25)
def test_a_guarantee_is_given_back_by_those_who_borrowed(sure: int, hosts: int, deep: bool) -> None:
    sure = min(sure, hosts * 4)
    named = {Dimension.CPU: sure, Dimension.MEMORY: sure}
    nodes = [QueueNode("root", None, guarantee=named), QueueNode("root/a", "root", guarantee=named)]
    leaf = "root/a"
    if deep:
        leaf = "root/a/x"
        nodes += [QueueNode(leaf, "root/a", guarantee=named), QueueNode("root/a/y", "root/a")]
    tree = Tree(
        [
            *(replace(n, min_protected_seconds=0.0) for n in nodes),
            QueueNode("root/b", "root", min_protected_seconds=0.0),
        ]
    )
    one = Shape(Amounts(1, 1))
    everything = {f"h{number}": Amounts(4, 4) for number in range(hosts)}
    borrower = Pending("b", "root/b", one, count=1000)
    scheduler = Scheduler(Snapshot(tree, everything, (borrower,), rules=AT_ONCE))
    scheduler.round(0.0)
    assert len(scheduler.state.tasks) == hosts * 4
    scheduler.add(Pending("a", leaf, one, count=1000, submitted=1.0))
    for now in (1.0, 2.0, 3.0):
        requeue(scheduler, scheduler.round(now))
    assert scheduler.state.ledger.used[tree.number(leaf)][Dimension.CPU] >= sure
