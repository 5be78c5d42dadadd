"""The tree of queues as people write it: what is wrong with one, and what goes down to leaves."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fleetwide.batch.scheduling.tree import Ordering, QueueNode, StopMode, Tree
from fleetwide.containers.capacity import FIELD, Vector, bounds_of
from fleetwide.containers.placement import UNCOUNTED, Dimension
from fleetwide.containers.placement.amounts import SCALE, UNIT
from fleetwide.errors import FieldFault
from fleetwide.models.queues import (
    DEFAULT_QUEUE,
    MAX_QUEUES,
    RESERVED,
    ROOT,
    SEPARATOR,
    Hold,
    QueueOrdering,
    QueueSpec,
    full_path,
    line_of,
    parent_of,
    short_path,
)

# Total over the models' (a test asserts it).
STOP: dict[Hold, StopMode] = {
    Hold.OPEN: StopMode.OPEN,
    Hold.HOLD: StopMode.HOLD,
    Hold.DRAIN: StopMode.DRAIN,
}
ORDERING: dict[QueueOrdering, Ordering] = {
    QueueOrdering.STRICT: Ordering.STRICT,
    QueueOrdering.BACKFILL: Ordering.BACKFILL,
}
# The stricter one holds where a queue and one above it say different things.
STRICTNESS = (Hold.OPEN, Hold.HOLD, Hold.DRAIN)
NEAR = 5

Specs = Mapping[str, QueueSpec]
"""All queues by their short paths."""


def node_of(path: str, spec: QueueSpec) -> QueueNode:
    """The queue as the scheduler reads it."""
    above = parent_of(path)
    return QueueNode(
        path=full_path(path),
        parent=None if above is None else full_path(above),
        weight=spec.weight,
        guarantee=bounds_of(spec.guarantee),
        limit=bounds_of(spec.limit),
        lendable=spec.lendable,
        ordering=ORDERING[spec.ordering],
        fence=spec.fence,
        min_protected_seconds=spec.min_protected_seconds,
        max_running=spec.max_running,
        stop=STOP[spec.hold],
    )


def tree_of(specs: Specs) -> Tree:
    """All queues together; raises ``BadTree`` where ``faults`` has something to say."""
    return Tree(node_of(path, spec) for path, spec in specs.items())


def children_of(specs: Specs) -> dict[str, list[str]]:
    """By queue those directly below it, by name; a leaf has none."""
    found: dict[str, list[str]] = {path: [] for path in specs}
    for path in sorted(specs):
        above = parent_of(path)
        if above in found:
            found[above].append(path)
    return found


def faults(specs: Specs) -> list[FieldFault]:
    """What keeps these from being a tree of queues."""
    found = list(_misplaced(specs))
    for path, below in children_of(specs).items():
        found += _overpromised(path, specs, below)
    return found


def _misplaced(specs: Specs) -> Iterator[FieldFault]:
    for always in (ROOT, DEFAULT_QUEUE):
        if always not in specs:
            yield FieldFault(always, "is always there: it cannot be removed")
    if len(specs) > MAX_QUEUES:
        yield FieldFault("changes", f"there would be {len(specs)} queues, above {MAX_QUEUES}")
    for path in sorted(specs):
        above = parent_of(path)
        if above is not None and above not in specs:
            yield FieldFault(path, f"there is no queue {above} that it could lie below")
        if path.rpartition(SEPARATOR)[2] in RESERVED:
            yield FieldFault(path, f"no queue can be called {' or '.join(RESERVED)}")


def _overpromised(path: str, specs: Specs, below: list[str]) -> Iterator[FieldFault]:
    own = bounds_of(specs[path].guarantee)
    guarantees = [bounds_of(specs[child].guarantee) for child in below]
    for each in Dimension:
        total = sum(guarantee.get(each, 0) for guarantee in guarantees)
        if path == ROOT and each not in own:
            continue  # bounded by the fleet alone, which comes and goes: a warning
        if total > own.get(each, 0):
            yield FieldFault(
                f"{path}.guarantee.{FIELD[each]}",
                f"the queues below {path} are guaranteed {_words(each, total)} together, above "
                f"the {_words(each, own.get(each, 0))} of {path} itself",
            )


def warnings(specs: Specs, whole: Vector) -> list[str]:
    """What is guaranteed, and the hosts that take work do not have; ``whole`` is all of them."""
    own = bounds_of(specs[ROOT].guarantee)
    top = [bounds_of(spec.guarantee) for path, spec in specs.items() if parent_of(path) == ROOT]
    told = []
    for each in Dimension:
        promised = max(own.get(each, 0), sum(guarantee.get(each, 0) for guarantee in top))
        if promised > whole[each] and whole[each] < UNCOUNTED:
            told.append(
                f"{_words(each, promised)} are guaranteed to queues in all, and the hosts that "
                f"take work have {whole[each] / SCALE[each]:g}"
            )
    return told


def _words(each: Dimension, amount: int) -> str:
    return f"{amount / SCALE[each]:g} {UNIT[each]}"


def near(path: str, known: Iterable[str]) -> list[str]:
    """The names that are most like one that is not there."""
    return difflib.get_close_matches(short_path(path), sorted(known), n=NEAR, cutoff=0.5)


@dataclass(frozen=True)
class Inherited:
    """What holds for the jobs of a queue, from itself or from those above it."""

    path: str
    line: tuple[QueueSpec, ...]
    """The queue's own spec and those above it, the root's last."""

    @classmethod
    def of(cls, path: str, specs: Specs) -> "Inherited":
        """``path`` is one of ``specs``."""
        return cls(path, tuple(specs[each] for each in line_of(path)))

    def nearest(self, field: str) -> object:
        """The first that says something, going up; None where none does."""
        return next((value for spec in self.line if (value := getattr(spec, field))), None)

    def hold(self) -> tuple[Hold, str]:
        """The strictest hold of the line, and whose it is."""
        line = zip(self.line, line_of(self.path), strict=True)
        spec, path = max(line, key=lambda each: STRICTNESS.index(each[0].hold))
        return spec.hold, path

    def submitters(self) -> list[str]:
        """Who may submit jobs; everybody where it is empty."""
        named = self.nearest("submitters")
        return named if isinstance(named, list) else []

    def owners(self) -> list[str]:
        """Who may change the queue: its owners and all above."""
        return [person for spec in self.line for person in spec.owners]

    def owners_above(self) -> list[str]:
        """Who may change what the queue can count on."""
        return [person for spec in self.line[1:] or self.line for person in spec.owners]
