"""The order of service: which requests are placed next, and how many at once."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fleetwide.containers.placement.groups import Ledger
from fleetwide.containers.placement.kinds import Kind
from fleetwide.containers.placement.requests import Gang, Request


@dataclass
class Run:
    """Equal requests, in the order in which they came."""

    kind: Kind
    requests: list[Request]


@dataclass
class Unit:
    """What is served together: one run, or all runs of a gang."""

    group: str
    order: tuple[int, int]
    gang: Gang | None
    runs: list[Run]

    @property
    def size(self) -> float:
        """The larger of two units of one rank is served first: what is small fits later too."""
        sizes = [run.kind.facts.size for run in self.runs]
        if self.gang is None:
            return sizes[0]
        return sum(size * len(run.requests) for size, run in zip(sizes, self.runs, strict=True))


@dataclass(frozen=True)
class Batch:
    """The next step: some requests of a run, or a whole gang."""

    group: str
    gang: Gang | None
    runs: list[Run]


def units(requests: Iterable[Request], kind_of: Callable[[Request], Kind]) -> list[Unit]:
    """Group equal requests; sort by priority, rank, size and the order in which they came.

    A gang stands where its first member does.
    """
    made: list[Unit] = []
    gangs: dict[str, Unit] = {}
    runs: dict[tuple[object, ...], list[Request]] = {}
    same: dict[tuple[object, ...], list[Request]] = {}
    for request in requests:
        # Tasks of a job share one shape: that is seen faster than two shapes are compared.
        likeness = (
            id(request.shape),
            request.job,
            request.group,
            request.priority,
            request.rank,
            request.gang,
        )
        alike = same.get(likeness)
        if alike is not None:
            alike.append(request)
            continue
        kind, gang = kind_of(request), request.gang
        key = (
            (request.group, request.priority, request.rank, kind) if gang is None else (gang, kind)
        )
        run = runs.get(key)
        if run is None:
            run = runs[key] = []
            unit = None if gang is None else gangs.get(gang.name)
            if unit is None:
                unit = Unit(request.group, (-request.priority, request.rank), gang, [])
                made.append(unit)
                if gang is not None:
                    gangs[gang.name] = unit
            unit.runs.append(Run(kind, run))
        same[likeness] = run
        run.append(request)
    for unit in made:
        unit.runs.sort(key=lambda run: -run.kind.facts.size)
    return sorted(made, key=lambda unit: (*unit.order, -unit.size))


def batches(ordered: list[Unit], ledger: Ledger) -> Iterator[Batch]:
    """Deal out the units group by group. Book the ledger before the next one is taken."""
    waiting: dict[str, deque[Unit]] = {}
    for unit in ordered:
        waiting.setdefault(unit.group, deque()).append(unit)
    while waiting:
        alone = len(waiting) == 1
        turns = [] if alone else sorted(ledger.turn(name) for name in waiting)
        name = next(iter(waiting)) if alone else turns[0][2]
        queue = waiting[name]
        unit = queue[0]
        count = 0
        if unit.gang is None and not alone:
            run = unit.runs[0]
            count = ledger.batch(name, run.kind.facts.need, len(run.requests), turns[1])
        yield _cut(unit, count)
        if unit.gang is not None or not count or not unit.runs[0].requests:
            queue.popleft()
        if not queue:
            del waiting[name]


def _cut(unit: Unit, count: int) -> Batch:
    """The first ``count`` requests of a unit, or all of it."""
    if not count:
        return Batch(unit.group, unit.gang, unit.runs)
    run = unit.runs[0]
    head, run.requests = run.requests[:count], run.requests[count:]
    return Batch(unit.group, None, [Run(run.kind, head)])
