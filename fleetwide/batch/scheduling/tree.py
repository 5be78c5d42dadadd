"""The tree of queues: what each may count on, what it may use at most, how it orders its work."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from fleetwide.containers.placement.amounts import Dimension

SEPARATOR = "/"


class Ordering(StrEnum):
    """What happens behind a job that does not fit."""

    STRICT = "strict"
    """All behind it wait."""
    BACKFILL = "backfill"
    """It gets a reservation, and whatever does not delay it may start before it."""


class StopMode(StrEnum):
    """What a queue does with its work."""

    OPEN = "open"
    HOLD = "hold"
    """Nothing starts; what runs goes on."""
    DRAIN = "drain"
    """Nothing starts, nothing new is taken, and what runs may be preempted by anybody."""


@dataclass(frozen=True)
class QueueNode:
    """One queue. Amounts are in the units of ``Amounts``; resources not named have no bound."""

    path: str
    """From the root down: ``root/ml/training``."""
    parent: str | None
    weight: float = 1.0
    """Its part, among siblings, of what is beyond all guarantees."""
    guarantee: Mapping[Dimension, int] = field(default_factory=dict)
    """What its work gets in any case; lent to others while it is idle."""
    limit: Mapping[Dimension, int] = field(default_factory=dict)
    """What it never goes beyond, also when everything else is idle."""
    lendable: float = 1.0
    """The part of its idle guarantee that others may use, from 0 to 1."""
    ordering: Ordering = Ordering.BACKFILL
    fence: bool = False
    """Work below it preempts only work below it."""
    min_protected_seconds: float = 60.0
    """For how long a task of it runs before anybody may preempt it."""
    max_running: int | None = None
    """The most tasks that run at a time; None for as many as fit."""
    stop: StopMode = StopMode.OPEN

    @property
    def name(self) -> str:
        return self.path.rsplit(SEPARATOR, 1)[-1]


class BadTree(ValueError):
    """The queues are no tree, or a number of theirs is out of its range."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Tree:
    """Queues by path, parents before their children, siblings by name.

    Raises ``BadTree`` when there is not exactly one root, a parent is missing, a path is given
    twice or is not its parent's with one name more, or a number is out of its range.
    ``overpromised`` tells of guarantees that do not add up; such a tree still works.
    """

    def __init__(self, nodes: Iterable[QueueNode]) -> None:
        given = sorted(nodes, key=lambda node: node.path.split(SEPARATOR))
        problems = [*_misplaced(given), *(each for node in given for each in _out_of_range(node))]
        if problems:
            raise BadTree(tuple(problems))
        self.nodes: tuple[QueueNode, ...] = tuple(given)
        self._index = {node.path: number for number, node in enumerate(given)}
        self.parents: tuple[int, ...] = tuple(
            -1 if node.parent is None else self._index[node.parent] for node in given
        )
        """The place of each node's parent in ``nodes``; -1 for the root."""

    def __iter__(self) -> Iterator[QueueNode]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __contains__(self, path: object) -> bool:
        return path in self._index

    def __getitem__(self, path: str) -> QueueNode:
        """A queue by its path. Raises ``KeyError`` when there is none."""
        return self.nodes[self._index[path]]

    @property
    def root(self) -> QueueNode:
        return self.nodes[0]

    def number(self, path: str) -> int:
        """The place of a queue in ``nodes``. Raises ``KeyError`` when there is none."""
        return self._index[path]

    @cached_property
    def children_of(self) -> tuple[tuple[int, ...], ...]:
        """The places of each node's children."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for number, parent in enumerate(self.parents):
            if parent >= 0:
                found[parent].append(number)
        return tuple(map(tuple, found))

    @cached_property
    def line_of(self) -> tuple[tuple[int, ...], ...]:
        """For each node the places of itself and all above it, the root last."""
        lines: list[tuple[int, ...]] = []
        for number, parent in enumerate(self.parents):
            lines.append((number, *(lines[parent] if parent >= 0 else ())))
        return tuple(lines)

    def children(self, path: str) -> tuple[QueueNode, ...]:
        return tuple(self.nodes[each] for each in self.children_of[self._index[path]])

    def is_leaf(self, path: str) -> bool:
        """Whether it takes jobs: only queues without children do."""
        return not self.children_of[self._index[path]]

    @cached_property
    def leaves(self) -> tuple[QueueNode, ...]:
        return tuple(node for node in self.nodes if self.is_leaf(node.path))

    def ancestors(self, path: str) -> tuple[QueueNode, ...]:
        """All above a queue, its parent first and the root last."""
        return tuple(self.nodes[each] for each in self.line_of[self._index[path]][1:])

    def common_ancestor(self, one: str, other: str) -> QueueNode:
        """The lowest queue that holds both; a queue holds itself."""
        above = set(self.line_of[self._index[one]])
        line = self.line_of[self._index[other]]
        return self.nodes[next(number for number in line if number in above)]

    def overpromised(self, capacity: Mapping[Dimension, int]) -> tuple[str, ...]:
        """One sentence for each guarantee that is more than there is to give."""
        found = [
            _more_than(f"the guarantee of {self.root.path}", each, amount, "the capacity", there)
            for each, amount in self.root.guarantee.items()
            if amount > (there := capacity.get(each, 0))
        ]
        for number, children in enumerate(self.children_of):
            found += self._overpromised_below(number, children)
        return tuple(found)

    def _overpromised_below(self, number: int, children: tuple[int, ...]) -> Iterator[str]:
        own = self.nodes[number]
        for each in Dimension if children else ():
            total = sum(self.nodes[child].guarantee.get(each, 0) for child in children)
            if total > (there := own.guarantee.get(each, 0)):
                what = f"the guarantees below {own.path}"
                yield _more_than(what, each, total, "its own", there)


def _more_than(what: str, each: Dimension, amount: int, of: str, there: int) -> str:
    return f"{what}: {amount} of {each.name} is more than {of}, {there}"


def _misplaced(nodes: list[QueueNode]) -> Iterator[str]:
    counts = Counter(node.path for node in nodes)
    roots = [node.path for node in nodes if node.parent is None]
    if len(roots) != 1:
        yield f"a tree has one root, not {len(roots)}: {', '.join(roots) or 'none'}"
    for path in (path for path, count in counts.items() if count > 1):
        yield f"{path} is given twice"
    for node in nodes:
        above, _, name = node.path.rpartition(SEPARATOR)
        if not name or (node.parent or "") != above:
            yield f"{node.path!r} does not lie directly below {node.parent!r}"
        elif node.parent is not None and node.parent not in counts:
            yield f"{node.path}: its parent {node.parent} is not there"


def _out_of_range(node: QueueNode) -> Iterator[str]:
    if not 0 < node.weight < float("inf"):
        yield f"{node.path}: the weight is {node.weight:g}; it has to be above 0"
    if not 0 <= node.lendable <= 1:
        yield f"{node.path}: lendable is {node.lendable:g}; it has to be from 0 to 1"
    if not node.min_protected_seconds >= 0:
        yield f"{node.path}: the protected time is {node.min_protected_seconds:g} s; not below 0"
    if node.max_running is not None and node.max_running < 0:
        yield f"{node.path}: max_running is {node.max_running}; not below 0"
    for each in Dimension:
        least, most = node.guarantee.get(each, 0), node.limit.get(each)
        if least < 0 or (most is not None and most < 0):
            yield f"{node.path}: {each.name} has an amount below 0"
        elif most is not None and most < least:
            yield f"{node.path}: the limit of {each.name}, {most}, is below the guarantee, {least}"
