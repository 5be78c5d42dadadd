"""Random trees of queues, hosts and work, and the checks that always hold. One seed, one world."""

from collections import Counter
from dataclasses import dataclass, replace
from random import Random

from fleetwide.batch.scheduling.scheduler import Scheduler
from fleetwide.batch.scheduling.tree import Ordering, QueueNode, Tree
from fleetwide.batch.scheduling.work import Pending, Round, Rules, Running, Snapshot, TaskKey
from fleetwide.containers.placement import Amounts, Dimension, Shape

BOUNDED = (Dimension.CPU, Dimension.MEMORY)
SHAPES = tuple(
    Shape(Amounts(cpu, memory))
    for cpu, memory in ((1, 1), (2, 1), (1, 2), (3, 1), (1, 4), (4, 4), (0, 2), (6, 2))
)
AT_ONCE = Rules(
    overdue_seconds=float("inf"), preempt_after_seconds=0.0, preempt_share_per_minute=float("inf")
)
"""Nothing but the conditions of the tiers holds preemption back."""


@dataclass(frozen=True)
class Kind:
    """Which worlds are wanted."""

    depth: int = 3
    guarantees: bool = True
    limits: bool = True
    gangs: bool = True
    protected: float = 0.0


USUAL = Kind()


def tree_of(random: Random, kind: Kind, capacity: int) -> Tree:
    """A tree whose guarantees add up."""
    sure = dict.fromkeys(BOUNDED, capacity if kind.guarantees else 0)
    nodes = [QueueNode("root", None, guarantee=sure)]
    _grow(random, kind, nodes, nodes[0], 1)
    return Tree(nodes)


def _grow(random: Random, kind: Kind, nodes: list[QueueNode], above: QueueNode, depth: int) -> None:
    left = dict(above.guarantee)
    for number in range(random.randint(2, 3)):
        sure = {each: random.randint(0, left[each]) if kind.guarantees else 0 for each in left}
        for each in left:
            left[each] -= sure[each]
        limit = {}
        if kind.limits and random.random() < 0.2:
            limit = {Dimension.CPU: sure.get(Dimension.CPU, 0) + random.randint(2, 12)}
        node = QueueNode(
            f"{above.path}/{number}",
            above.path,
            weight=random.choice([0.5, 1.0, 1.0, 2.0]),
            guarantee=sure,
            limit=limit,
            ordering=random.choice(list(Ordering)) if kind.limits else Ordering.BACKFILL,
            fence=kind.limits and random.random() < 0.1,
            min_protected_seconds=kind.protected,
            max_running=random.randint(1, 9) if kind.limits and random.random() < 0.1 else None,
        )
        nodes.append(node)
        if depth < kind.depth and random.random() < 0.45:
            _grow(random, kind, nodes, node, depth + 1)


def hosts_of(random: Random) -> dict[str, Amounts]:
    return {
        f"h{number}": Amounts(*random.choice([(8, 8), (8, 8), (6, 12), (12, 6)]))
        for number in range(random.randint(1, 4))
    }


def row_of(random: Random, kind: Kind, tree: Tree, number: int, now: float) -> Pending:
    gang = kind.gangs and random.random() < 0.2
    return Pending(
        f"j{number:03d}",
        random.choice(tree.leaves).path,
        random.choice(SHAPES),
        count=random.choice([2, 3]) if gang else random.choice([1, 1, 2, 5]),
        gang=gang,
        priority=random.choice([0, 0, 0, 5]),
        owner=random.choice("xy"),
        submitted=now,
        at_most=2 if not gang and random.random() < 0.1 else None,
        seconds=random.choice([None, 5.0, 20.0, 60.0]),
        preemptible=random.random() < 0.9,
    )


def world(seed: int, kind: Kind = USUAL, rules: Rules = AT_ONCE) -> tuple[Random, Scheduler]:
    """A scheduler without any work yet."""
    random = Random(seed)
    hosts = hosts_of(random)
    capacity = sum(host.cpu_milli for host in hosts.values())
    tree = tree_of(random, kind, capacity // 2)
    return random, Scheduler(Snapshot(tree, hosts, rules=rules))


def requeue(scheduler: Scheduler, made: Round) -> None:
    """All that were told to leave are gone, and wait again since when they came."""
    gangs: dict[str, Running] = {}
    for eviction in made.evictions:
        task = scheduler.end(eviction.task)
        if task.row.gang:
            gangs[task.row.job] = task
        else:
            scheduler.add(replace(task.row, first=task.index, count=1))
    for task in gangs.values():
        scheduler.add(task.row)


def check(scheduler: Scheduler) -> None:
    """No host and no queue has more than it may, and gangs are whole."""
    snapshot = scheduler.snapshot()
    check_hosts(snapshot)
    check_queues(snapshot)
    gangs = Counter(task.row.job for task in snapshot.running if task.row.gang)
    sizes = {task.row.job: task.row.count for task in snapshot.running if task.row.gang}
    assert all(gangs[job] == size for job, size in sizes.items())


def check_hosts(snapshot: Snapshot) -> None:
    used: Counter[tuple[str, int]] = Counter()
    for task in snapshot.running:
        for each, amount in enumerate(task.row.shape.amounts.vector):
            used[task.host, each] += amount
    assert all(amount <= snapshot.hosts[host].vector[each] for (host, each), amount in used.items())


def check_queues(snapshot: Snapshot) -> None:
    used: Counter[tuple[str, int]] = Counter()
    tasks: Counter[str] = Counter()
    jobs = Counter(task.row.job for task in snapshot.running)
    tree = snapshot.tree
    for task in snapshot.running:
        for node in (tree[task.row.queue], *tree.ancestors(task.row.queue)):
            tasks[node.path] += 1
            for each, amount in enumerate(task.row.shape.amounts.vector):
                used[node.path, each] += amount
    for node in tree:
        assert all(used[node.path, each] <= most for each, most in node.limit.items())
        assert node.max_running is None or tasks[node.path] <= node.max_running
    most = {task.row.job: task.row.at_most for task in snapshot.running}
    assert all(bound is None or jobs[job] <= bound for job, bound in most.items())


def where(scheduler: Scheduler) -> frozenset[tuple[TaskKey, str]]:
    return frozenset((key, task.host) for key, task in scheduler.state.tasks.items())
