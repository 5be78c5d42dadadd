"""Over time: shares come out even, nobody starves, nobody who has a reservation is delayed."""

from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.batch.scheduling.scheduler import Scheduler
from fleetwide.batch.scheduling.simulation import Simulation
from fleetwide.batch.scheduling.tree import QueueNode, Tree
from fleetwide.batch.scheduling.work import Pending, Round, Rules, Snapshot
from fleetwide.containers.placement import Amounts, Dimension, Shape

ONE = Shape(Amounts(1, 1))
QUIET = Rules(preempt_share_per_minute=0.0, overdue_seconds=float("inf"))


@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(2, 6))
@settings(max_examples=15)
def test_equal_tasks_are_shared_by_weight(weights: list[int], hosts: int) -> None:
    nodes = [QueueNode(f"root/{n}", "root", weight=float(w)) for n, w in enumerate(weights)]
    rows = tuple(Pending(f"j{n}", node.path, ONE, count=1000) for n, node in enumerate(nodes))
    total = {f"h{number}": Amounts(8, 8) for number in range(hosts)}
    scheduler = Scheduler(Snapshot(Tree([QueueNode("root", None), *nodes]), total, rows))
    scheduler.round(0.0)
    used = [scheduler.state.ledger.used[n + 1][Dimension.CPU] for n in range(len(nodes))]
    assert sum(used) == hosts * 8
    parts = [amount / weight for amount, weight in zip(used, weights, strict=True)]
    assert max(parts) - min(parts) <= max(1 / weight for weight in weights) + 1e-9


@given(st.integers(2, 8), st.integers(0, 3), st.booleans())
@settings(max_examples=8)
def test_a_large_job_starts_though_small_ones_never_end(size: int, others: int, gang: bool) -> None:
    """Within the stated bound: overdue, and then the longest that anything runs."""
    queues = [QueueNode(f"root/q{number}", "root") for number in range(others + 1)]
    rules = Rules(overdue_seconds=100.0, preempt_share_per_minute=0.0)
    hosts = {"h0": Amounts(8, 8)}
    simulation = Simulation(
        Scheduler(Snapshot(Tree([QueueNode("root", None), *queues]), hosts, rules=rules)),
        lambda row, _: row.seconds or 1.0,
    )
    small = [
        Pending(f"s{n:04d}", queues[n % len(queues)].path, ONE, submitted=n * 1.0, seconds=20.0)
        for n in range(300)
    ]
    shape, count = (ONE, size) if gang else (Shape(Amounts(size, size)), 1)
    large = Pending("large", "root/q0", shape, count=count, gang=gang, submitted=5.0, seconds=9.0)
    simulation.arrive([*small, large])
    started = [span.started for span in simulation.run() if span.row.job == "large"]
    assert len(started) == count
    assert max(started) <= 5.0 + 100.0 + 20.0


@given(st.integers(0, 2**32))
@settings(max_examples=15)
def test_backfill_never_delays_who_has_the_reservation(seed: int) -> None:
    """When nothing runs for longer than expected, it starts by the time that was told."""
    random = Random(seed)
    tree = Tree([QueueNode("root", None), QueueNode("root/q", "root"), QueueNode("root/p", "root")])
    hosts = {f"h{number}": Amounts(8, 8) for number in range(random.randint(1, 3))}
    runs = {f"j{n:03d}": random.uniform(0.3, 1.0) for n in range(60)}
    scheduler = Scheduler(Snapshot(tree, hosts, rules=QUIET))
    simulation = Simulation(scheduler, lambda row, _: (row.seconds or 0.0) * runs[row.job])
    simulation.arrive(
        Pending(
            job,
            random.choice(["root/q", "root/p"]),
            random.choice([ONE, Shape(Amounts(3, 1)), Shape(Amounts(7, 7))]),
            count=random.choice([1, 2]),
            gang=random.random() < 0.3,
            submitted=float(random.randint(0, 40)),
            seconds=random.choice([3.0, 10.0, 40.0]),
        )
        for job in runs
    )
    told: dict[str, float] = {}
    real = scheduler.round

    def noted(now: float) -> Round:
        made = real(now)
        if made.reservation is not None:
            row = made.reservation.row
            told.setdefault(f"{row.job}:{row.first}", made.reservation.at)
        return made

    setattr(scheduler, "round", noted)  # noqa: B010 - it listens in
    starts = {f"{span.row.job}:{span.child}": span.started for span in simulation.run()}
    assert told.keys() <= starts.keys()
    assert all(starts[name] <= at + 1e-6 for name, at in told.items())


def share_of(cut: int) -> float:
    """What a queue gets over time beside another one, when its work is cut into such pieces."""
    tree = Tree([QueueNode("root", None), QueueNode("root/a", "root"), QueueNode("root/b", "root")])
    scheduler = Scheduler(Snapshot(tree, {"h": Amounts(12, 12)}, rules=QUIET))
    simulation = Simulation(scheduler, lambda row, _: row.seconds or 0.0)
    piece = Shape(Amounts(cut, cut))
    simulation.arrive(
        [
            *(Pending(f"a{n:05d}", "root/a", piece, seconds=10.0) for n in range(600 // cut)),
            *(Pending(f"b{n:05d}", "root/b", ONE, seconds=10.0) for n in range(600)),
        ]
    )
    spans = [span for span in simulation.run(until=200.0) if span.row.queue == "root/a"]
    return sum(span.row.shape.amounts.cpu_milli * 10.0 for span in spans)


def test_cutting_work_into_pieces_or_asking_for_more_gains_nothing() -> None:
    whole = share_of(1)
    assert share_of(2) <= whole * 1.02
    assert share_of(3) <= whole * 1.02


def test_a_preempted_task_waits_again_and_runs_in_the_end() -> None:
    sure = {Dimension.CPU: 4}
    tree = Tree(
        [
            QueueNode("root", None, guarantee=sure),
            QueueNode("root/a", "root", guarantee=sure),
            QueueNode("root/b", "root", min_protected_seconds=5.0),
        ]
    )
    rules = replace(QUIET, preempt_share_per_minute=1.0)
    scheduler = Scheduler(Snapshot(tree, {"h": Amounts(8, 99)}, rules=rules))
    simulation = Simulation(scheduler, lambda _row, _index: 100.0)
    simulation.arrive([Pending("b", "root/b", ONE, count=8)])
    simulation.arrive([Pending("a", "root/a", ONE, count=4, submitted=20.0)])
    simulation.arrive([Pending("c", "root/a", ONE, submitted=40.0)])  # wakes the scheduler
    spans = list(simulation.run())
    assert sum(span.preempted for span in spans) == 4
    assert sorted(span.child for span in spans if span.row.job == "b" and not span.preempted) == [
        *range(8)
    ]
    assert {span.started for span in spans if span.row.job == "a"} == {70.0}
