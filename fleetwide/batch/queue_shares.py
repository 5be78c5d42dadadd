"""What each queue can count on when all of them ask for everything that they may have."""

from collections.abc import Mapping, Sequence

from fleetwide.batch.scheduling.tree import QueueNode, Tree
from fleetwide.containers.capacity import Vector
from fleetwide.containers.placement import Dimension

Shares = Mapping[str, Mapping[Dimension, int]]


def counts_on(tree: Tree, capacity: Vector) -> Shares:
    """By full path: the guarantee, and by weight a part of what is beyond all guarantees.

    Where a fleet is too small for its guarantees, each gets its part of them.
    """
    top = {
        each: min(capacity[each], tree.root.limit.get(each, capacity[each])) for each in Dimension
    }
    found: dict[str, dict[Dimension, int]] = {tree.root.path: top}
    for node in tree:
        below = tree.children(node.path)
        own = found[node.path]
        parts = {each: _split(own[each], below, each) for each in Dimension}
        for place, child in enumerate(below):
            found[child.path] = {each: parts[each][place] for each in Dimension}
    return found


def _split(amount: int, nodes: Sequence[QueueNode], each: Dimension) -> list[int]:
    """Guarantees first; what is left goes by weight, up to the limits."""
    guaranteed = [node.guarantee.get(each, 0) for node in nodes]
    promised = sum(guaranteed)
    if promised > amount:
        return [amount * own // promised for own in guaranteed]
    shares = list(guaranteed)
    open_ = {place for place, node in enumerate(nodes) if _room(node, each, shares[place])}
    left = amount - promised
    while left > 0 and open_:
        weight = sum(nodes[place].weight for place in open_)
        filled = {
            place
            for place in open_
            if _room(nodes[place], each, shares[place]) <= left * nodes[place].weight / weight
        }
        for place in filled or open_:
            room = _room(nodes[place], each, shares[place])
            shares[place] += int(min(room, left * nodes[place].weight / weight))
        if not filled:
            break
        left = amount - sum(shares)
        open_ -= filled
    return shares


def _room(node: QueueNode, each: Dimension, has: int) -> float:
    return node.limit.get(each, float("inf")) - has
