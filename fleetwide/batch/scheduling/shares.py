"""Shares of a tree of queues: what is used, wanted, borrowed, and what each is entitled to."""

from collections.abc import Mapping, Sequence

from fleetwide.batch.scheduling.tree import QueueNode, Tree
from fleetwide.containers.placement.amounts import Dimension

Vector = tuple[int, ...]
NOTHING: Vector = (0,) * len(Dimension)


def bubbled(tree: Tree, of_leaves: Mapping[str, Vector]) -> dict[str, Vector]:
    """The sums below each queue."""
    sums = [list(of_leaves.get(node.path, NOTHING)) for node in tree]
    for number in range(len(tree) - 1, 0, -1):
        above = sums[tree.parents[number]]
        for each, amount in enumerate(sums[number]):
            above[each] += amount
    return {node.path: tuple(amounts) for node, amounts in zip(tree, sums, strict=True)}


def demand(
    tree: Tree, used: Mapping[str, Vector], pending: Mapping[str, Vector]
) -> dict[str, Vector]:
    """What each queue would use if nobody else were there: its limits hold at every level."""
    wanted: dict[str, Vector] = {}
    for number in range(len(tree) - 1, -1, -1):
        node = tree.nodes[number]
        own = (used.get(node.path, NOTHING), pending.get(node.path, NOTHING))
        parts = [wanted[tree.nodes[each].path] for each in tree.children_of[number]] or list(own)
        sums = [sum(part) for part in zip(*parts, strict=True)]
        wanted[node.path] = tuple(
            min(amount, node.limit.get(each, amount))
            for each, amount in zip(Dimension, sums, strict=True)
        )
    return wanted


def dominant(amounts: Sequence[float], capacity: Sequence[int]) -> float:
    """The largest part of any resource, from 0 to 1. What there is nothing of does not count."""
    return max(
        (amount / there for amount, there in zip(amounts, capacity, strict=True) if there),
        default=0.0,
    )


def borrowed(node: QueueNode, used: Sequence[float], capacity: Sequence[int]) -> float:
    """The dominant share of what a queue uses beyond its guarantee, for its weight."""
    beyond = [
        max(0.0, amount - node.guarantee.get(each, 0))
        for each, amount in zip(Dimension, used, strict=True)
    ]
    return dominant(beyond, capacity) / node.weight


def level(demands: Sequence[float], weights: Sequence[float], budget: float) -> list[float]:
    """Weighted max-min with caps: nobody gets more than asked; the rest rises to one level.

    All the budget is given out, or all demands are met. Returns the parts, as the demands.
    """
    parts = [0.0] * len(demands)
    order = sorted(range(len(demands)), key=lambda each: demands[each] / weights[each])
    weight = sum(weights)
    for each in order:
        parts[each] = min(demands[each], budget * weights[each] / weight if weight > 0 else 0.0)
        budget -= parts[each]
        weight -= weights[each]
    return parts


def entitlement(
    tree: Tree, wanted: Mapping[str, Vector], capacity: Sequence[int]
) -> dict[str, tuple[float, ...]]:
    """What each queue may expect of each resource while all demands stay as they are.

    Among siblings first what is guaranteed and wanted, then the rest of the parent's by weight.
    """
    found = {
        tree.root.path: tuple(
            float(min(asked, there))
            for asked, there in zip(wanted[tree.root.path], capacity, strict=True)
        )
    }
    for node in tree:
        children = tree.children(node.path)
        columns = [
            _divided(children, [wanted[child.path][each] for child in children], each, amount)
            for each, amount in zip(Dimension, found[node.path], strict=True)
        ]
        for number, child in enumerate(children):
            found[child.path] = tuple(column[number] for column in columns)
    return found


def _divided(
    children: Sequence[QueueNode], wanted: Sequence[int], each: Dimension, budget: float
) -> list[float]:
    sure = [
        min(asked, child.guarantee.get(each, 0))
        for asked, child in zip(wanted, children, strict=True)
    ]
    if sum(sure) > budget:  # more is promised than is there: all promises shrink alike
        return [part * budget / sum(sure) for part in sure]
    rest = [float(asked - part) for asked, part in zip(wanted, sure, strict=True)]
    more = level(rest, [child.weight for child in children], budget - sum(sure))
    return [part + extra for part, extra in zip(sure, more, strict=True)]


def decayed(history: float, seconds: float, share: float, half_life: float) -> float:
    """Past use after some more seconds at a dominant share; it halves with every half-life.

    A half-life of 0 forgets everything.
    """
    if half_life <= 0:
        return 0.0
    return float(history * 0.5 ** (seconds / half_life) + seconds * share)


def admission_charge(share: float, tick: float, half_life: float) -> float:
    """What a start adds to the history at once, so that no burst slips in between two samples.

    ``share`` is the dominant share of what starts, ``tick`` the seconds between two samples.
    """
    if half_life <= 0:
        return 0.0
    return float((1.0 - 0.5 ** (tick / half_life)) * share * half_life)
