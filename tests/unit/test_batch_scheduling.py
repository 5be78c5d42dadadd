"""The tree of queues, shares, and why a job waits."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwide.batch.scheduling.scheduler import Scheduler
from fleetwide.batch.scheduling.shares import (
    admission_charge,
    borrowed,
    bubbled,
    decayed,
    demand,
    entitlement,
    level,
)
from fleetwide.batch.scheduling.tree import BadTree, Ordering, QueueNode, StopMode, Tree
from fleetwide.batch.scheduling.waiting import WaitCode
from fleetwide.batch.scheduling.work import Pending, Round, Rules, Snapshot
from fleetwide.containers.placement import Amounts, Dimension, Shape

CPU = Dimension.CPU
ROOT = QueueNode("root", None)
ONE = Shape(Amounts(1, 1))


def cpus(amount: int) -> tuple[int, ...]:
    return Amounts(amount).vector


def queue(path: str, **more: Any) -> QueueNode:
    return QueueNode(path, path.rpartition("/")[0], **more)


def test_a_tree_knows_who_is_where() -> None:
    tree = Tree([queue("root/ml/b"), ROOT, queue("root/ml"), queue("root/ml/a"), queue("root/x")])
    assert [node.path for node in tree.leaves] == ["root/ml/a", "root/ml/b", "root/x"]
    assert tree.common_ancestor("root/ml/a", "root/ml/b").path == "root/ml"
    assert tree.common_ancestor("root/ml/a", "root/x").path == "root"
    assert [node.path for node in tree.ancestors("root/ml/a")] == ["root/ml", "root"]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([], "one root, not 0"),
        ([ROOT, queue("root/a/b")], "its parent root/a is not there"),
        ([ROOT, ROOT], "root is given twice"),
        ([ROOT, QueueNode("x", "root")], "does not lie directly below"),
        ([replace(ROOT, weight=0)], "the weight is 0"),
        ([replace(ROOT, weight=float("nan"))], "the weight is nan"),
        ([replace(ROOT, lendable=1.5)], "lendable is 1.5"),
        ([replace(ROOT, guarantee={CPU: 5}, limit={CPU: 4})], "4, is below the guarantee, 5"),
    ],
)
def test_what_is_no_tree_is_refused(nodes: list[QueueNode], said: str) -> None:
    with pytest.raises(BadTree, match=said):
        Tree(nodes)


def test_guarantees_that_do_not_add_up_are_told() -> None:
    sure = {CPU: 3}
    below = [queue("root/a", guarantee=sure), queue("root/b", guarantee=sure)]
    tree = Tree([QueueNode("root", None, guarantee=sure), *below])
    assert tree.overpromised({CPU: 3}) == (
        "the guarantees below root: 6 of CPU is more than its own, 3",
    )
    assert len(tree.overpromised({})) == 2


def test_shares_of_a_small_tree() -> None:
    tree = Tree(
        [
            ROOT,
            queue("root/a", guarantee={CPU: 4}, weight=2.0),
            queue("root/b"),
            queue("root/c", limit={CPU: 3}),
        ]
    )
    used = bubbled(tree, {"root/a": cpus(8), "root/b": cpus(2)})
    assert used["root"] == cpus(10)
    wanted = demand(tree, used, {"root/a": cpus(20), "root/b": cpus(20), "root/c": cpus(9)})
    assert wanted["root/c"] == cpus(3)
    assert borrowed(tree["root/a"], used["root/a"], cpus(16)) == pytest.approx(0.125)
    parts = entitlement(tree, wanted, cpus(16))
    assert [parts[path][0] for path in ("root/a", "root/b", "root/c")] == [10.0, 3.0, 3.0]


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 10)), min_size=1, max_size=8),
    st.floats(0, 300),
)
def test_levelling_gives_out_all_of_the_budget_or_meets_all_demands(
    asked: list[tuple[float, float]], budget: float
) -> None:
    demands, weights = [each for each, _ in asked], [weight for _, weight in asked]
    parts = level(demands, weights, budget)
    assert all(part <= most + 1e-9 for part, most in zip(parts, demands, strict=True))
    assert sum(parts) == pytest.approx(min(budget, sum(demands)))
    short = [
        part / weight
        for part, most, weight in zip(parts, demands, weights, strict=True)
        if part < most - 1e-6
    ]
    highest = max((p / w for p, w in zip(parts, weights, strict=True)), default=0.0)
    assert all(each == pytest.approx(highest, abs=1e-6) for each in short)


def test_past_use_fades_and_a_start_counts_at_once() -> None:
    assert decayed(100.0, 60.0, 0.0, half_life=60.0) == pytest.approx(50.0)
    assert decayed(0.0, 60.0, 0.5, half_life=60.0) == pytest.approx(30.0)
    assert decayed(100.0, 60.0, 1.0, half_life=0.0) == 0.0
    assert 0 < admission_charge(0.5, 10.0, 3600.0) <= 0.5 * 10.0


def test_what_was_used_before_counts_when_nothing_else_differs() -> None:
    tree = Tree([ROOT, queue("root/a"), queue("root/b")])
    rows = tuple(Pending(name, f"root/{name}", ONE, count=9) for name in "ab")
    snapshot = Snapshot(tree, {"h": Amounts(1, 1)}, rows, history={"root/a": 3600.0})
    assert [start.job for start in Scheduler(snapshot).round(0.0).starts] == ["b"]


def test_what_is_not_lent_stays_free() -> None:
    own = queue("root/a", guarantee={CPU: 4}, lendable=0.5)
    tree = Tree([QueueNode("root", None, guarantee={CPU: 4}), own, queue("root/b")])
    rows = (Pending("b", "root/b", ONE, count=9),)
    scheduler = Scheduler(Snapshot(tree, {"h": Amounts(8, 99)}, rows))
    assert sum(start.tasks for start in scheduler.round(0.0).starts) == 6
    assert scheduler.why(next(iter(scheduler.state.rows)), 0.0).code is WaitCode.LENT_TO_NOBODY
    scheduler.add(Pending("a", "root/a", ONE, count=9))
    assert sum(start.tasks for start in scheduler.round(1.0).starts) == 2


def waits(row: Pending, *before: Pending, **leaf: Any) -> tuple[Scheduler, Round]:
    """A row that waits behind others on one host of 4 CPUs."""
    tree = Tree([ROOT, queue("root/q", **leaf)])
    scheduler = Scheduler(Snapshot(tree, {"h": Amounts(4, 4)}, (row, *before), rules=Rules()))
    return scheduler, scheduler.round(0.0)


FOUR = Shape(Amounts(4, 4))
AFTER = Pending("z", "root/q", ONE, submitted=0.0)
BUSY = Pending("a", "root/q", ONE, count=2, submitted=-5.0, seconds=50.0)
LARGE = Pending("b", "root/q", FOUR, submitted=-4.0)


@pytest.mark.parametrize(
    ("row", "before", "leaf", "code", "numbers"),
    [
        (replace(AFTER, held=True), (), {}, WaitCode.HELD, {}),
        (AFTER, (), {"stop": StopMode.HOLD}, WaitCode.QUEUE_STOPPED, {}),
        (
            replace(AFTER, count=3, first=2, at_most=2),
            (),
            {},
            WaitCode.ARRAY_THROTTLE,
            {"running": 2, "atMost": 2},
        ),
        (AFTER, (BUSY,), {"limit": {CPU: 2}}, WaitCode.QUOTA_EXCEEDED, {"missing": 1, "limit": 2}),
        (AFTER, (BUSY,), {"max_running": 2}, WaitCode.QUOTA_EXCEEDED, {"missing": 1, "limit": 2}),
        (
            replace(AFTER, shape=Shape(Amounts(5, 1))),
            (),
            {},
            WaitCode.NEVER_FITS,
            {"fits": 0, "together": 1},
        ),
        (LARGE, (BUSY,), {}, WaitCode.RESERVED, {"startsIn": 50.0}),
        (
            replace(LARGE, job="c", submitted=-3.0),
            (BUSY, LARGE),
            {},
            WaitCode.NO_HOST_FITS,
            {"asked": 4, "largestFree": 2, "fits": 0, "together": 1},
        ),
        (AFTER, (BUSY, LARGE), {"ordering": Ordering.STRICT}, WaitCode.BEHIND_HEAD, {}),
        (AFTER, (BUSY, LARGE), {}, WaitCode.WOULD_DELAY, {"shorterThan": 50.0}),
    ],
)
def test_who_waits_is_told_why(
    row: Pending,
    before: tuple[Pending, ...],
    leaf: dict[str, Any],
    code: WaitCode,
    numbers: dict[str, float],
) -> None:
    scheduler, _ = waits(row, *before, **leaf)
    [key] = [key for key in scheduler.state.rows if key.job == row.job]
    told = scheduler.why(key, 0.0)
    assert (told.code, dict(told.numbers)) == (code, numbers)
    assert told.position == sum(each.job == "b" and row.job != "b" for each in before)


def test_a_short_task_may_start_before_the_reserved_job() -> None:
    _, made = waits(replace(AFTER, seconds=49.0), BUSY, LARGE)
    assert [start.job for start in made.starts] == ["a", "z"]
