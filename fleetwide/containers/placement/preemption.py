"""Taking back what was lent: which tasks would have to leave so that guaranteed requests fit.

Only proposals: the tasks get their notice, and their places are free when they are gone. All of it
is decided anew each time; what was announced before is preferred, so that it stays as it is while
nothing else changes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import add, ge, sub

import numpy as np
import numpy.typing as npt

from fleetwide.containers.placement.amounts import Dimension
from fleetwide.containers.placement.blockers import BY_USE, Blocker
from fleetwide.containers.placement.board import Board
from fleetwide.containers.placement.explain import codes
from fleetwide.containers.placement.fleet import Whole
from fleetwide.containers.placement.groups import NOTHING, Ledger
from fleetwide.containers.placement.kinds import Kind
from fleetwide.containers.placement.plans import Claim, Plan, Preemption, RunningTask
from fleetwide.containers.placement.requests import Request
from fleetwide.models.task_states import PendingCode

MOST_CLAIMS = 200
"""Places that are being cleared at a time."""
ENOUGH = 16
"""Hosts that are compared once one is found."""

Vector = tuple[int, ...]
KindOf = Callable[[Request], Kind]


@dataclass
class _Lent:
    """What could be had on each host beyond what is free."""

    tasks: dict[int, list[RunningTask]] = field(default_factory=dict)
    """Tasks that can be asked; of the hosts in ``sorted`` the first one first."""
    sorted: set[int] = field(default_factory=set)
    """Few hosts are ever looked at closely."""
    coming: dict[int, Vector] = field(default_factory=dict)
    """What tasks that leave give back."""
    promised: dict[int, Vector] = field(default_factory=dict)
    """What this plan's proposals need of it."""


@dataclass(frozen=True)
class _Place:
    """A host that would have room for a request, and who would have to leave."""

    host: int
    victims: list[RunningTask]

    @cached_property
    def cost(self) -> tuple[int, int]:
        """Those who do not know it yet count first."""
        return (sum(not task.announced for task in self.victims), len(self.victims))


def guaranteed(requests: Sequence[Request], made: Plan, ledger: Ledger) -> list[Request]:
    """Requests that found no host and are within their group's guarantee, in order of service.

    Each is looked at by itself: not all of them need be within it together.
    """
    placed = {decision.request_id for decision in made.decisions}
    waiting = [
        request
        for request in requests
        if ledger.group(request.group).guarantee
        and request.gang is None
        and request.request_id not in placed
        and _lacks_room(made, request)
        and ledger.guaranteed(request.group, request.shape.amounts.vector)
    ]
    return sorted(
        waiting, key=lambda each: (ledger.group(each.group).tier, -each.priority, each.rank)
    )


def _lacks_room(made: Plan, request: Request) -> bool:
    """Whether room is what it lacks, as far as that was looked at."""
    explained = made.waiting.get(request.request_id)
    return explained is None or explained.code is PendingCode.HOSTS_FULL


def propose(
    board: Board,
    ledger: Ledger,
    waiting: Sequence[Request],
    running: Sequence[RunningTask],
    kind_of: KindOf,
) -> tuple[tuple[Preemption, ...], tuple[Claim, ...]]:
    """Preemptions for ``guaranteed`` requests, and the places that are cleared for them.

    Only tasks of other groups are asked, of the same tier or a lower one, and only while their
    group has its own guarantee without them: so none can come back and ask in turn.
    """
    if not waiting or not running:
        return (), ()
    return _Proposals(board, ledger, running).of(waiting, kind_of)


class _Proposals:
    """One round of proposals. The ledger is as it would be when all of them have come true."""

    def __init__(self, board: Board, ledger: Ledger, running: Sequence[RunningTask]) -> None:
        self.board = board
        self.ledger = ledger
        for task in running:
            if task.leaving:
                ledger.book(task.group, task.amounts.vector, -1)
        self.lent = _lent(board, running)
        self.reach = _reach(board, running)
        self.clearing = set(self.lent.coming) | {
            board.fleet.index[task.host_id]
            for task in running
            if task.announced and task.host_id in board.fleet.index
        }
        """Hosts that somebody leaves."""
        self._open: dict[Kind, npt.NDArray[np.bool_]] = {}

    def of(
        self, waiting: Sequence[Request], kind_of: KindOf
    ) -> tuple[tuple[Preemption, ...], tuple[Claim, ...]]:
        found: list[Preemption] = []
        claims: list[Claim] = []
        vain: set[tuple[str, Kind]] = set()
        for request in waiting:
            kind = kind_of(request)
            like = (request.group, kind)
            if like in vain or not self.ledger.guaranteed(request.group, kind.facts.need):
                continue
            place = self._cheapest(request, kind)
            if place is None:
                vain.add(like)
                continue
            self._book(request, kind.facts.need, place)
            host_id = self.board.fleet.ids[place.host]
            claims.append(Claim(request.request_id, host_id))
            if place.victims:
                names = tuple(task.task_id for task in place.victims)
                found.append(Preemption(request.request_id, host_id, names))
            if len(claims) == MOST_CLAIMS:
                break
        return tuple(found), tuple(claims)

    def _cheapest(self, request: Request, kind: Kind) -> _Place | None:
        """The host on which the fewest have to be asked; the first one among equals."""
        best: _Place | None = None
        for looked, host in enumerate(self._candidates(kind), start=1):
            place = self._place(request, kind.facts.need, host, best)
            if place is not None and (best is None or place.cost < best.cost):
                best = place
            if best is not None and (best.cost <= (1, 1) or looked >= ENOUGH):
                break
        return best

    def _candidates(self, kind: Kind) -> Iterator[int]:
        """Hosts that lack only room, and could have it; those that somebody leaves first."""
        full = self._open.get(kind)
        if full is None:
            full = np.isin(codes(self.board, kind), [*BY_USE, Blocker.NONE])
            self._open[kind] = full
        able = full & (self.reach >= kind.facts.column).all(axis=0)
        yield from (host for host in sorted(self.clearing) if able[host])
        hosts: list[int] = np.flatnonzero(able).tolist()
        yield from (host for host in hosts if host not in self.clearing)

    def _place(
        self, request: Request, need: Vector, host: int, best: _Place | None
    ) -> _Place | None:
        """Who has to leave this host; None when that is not enough, or not less than ``best``."""
        lent, ledger = self.lent, self.ledger
        coming, promised = lent.coming.get(host, NOTHING), lent.promised.get(host, NOTHING)
        free = _less(_more(tuple(self.board.free[:, host].tolist()), coming), promised)
        victims: list[RunningTask] = []
        fresh = 0
        for task in self._asked_in_turn(host):
            if _holds(free, need) or (best and (fresh, len(victims) + 1) >= best.cost):
                break
            if self._may_take(request, task):
                victims.append(task)
                fresh += not task.announced
                ledger.book(task.group, task.amounts.vector, -1)
                free = _more(free, task.amounts.vector)
        for task in victims:
            ledger.book(task.group, task.amounts.vector, 1)
        return _Place(host, victims) if _holds(free, need) else None

    def _asked_in_turn(self, host: int) -> list[RunningTask]:
        """Those who know it first, then flexible tasks, of low priority, and the youngest."""
        tasks = self.lent.tasks.get(host, [])
        if host not in self.lent.sorted:
            self.lent.sorted.add(host)
            tasks.sort(key=self._turn)
        return tasks

    def _turn(self, task: RunningTask) -> tuple[object, ...]:
        tier = self.ledger.group(task.group).tier
        return (not task.announced, -tier, task.priority, -task.started, task.task_id)

    def _may_take(self, request: Request, task: RunningTask) -> bool:
        """Whether a task sits on what was lent: its group has its own guarantee without it."""
        if task.group == request.group:
            return False
        group = self.ledger.group
        lower = group(task.group).tier >= group(request.group).tier
        return lower and self.ledger.beyond(task.group, task.amounts.vector)

    def _book(self, request: Request, need: Vector, place: _Place) -> None:
        lent, host = self.lent, place.host
        for task in place.victims:
            self.ledger.book(task.group, task.amounts.vector, -1)
            lent.tasks[host].remove(task)
            lent.coming[host] = _more(lent.coming.get(host, NOTHING), task.amounts.vector)
            self.clearing.add(host)
        self.ledger.book(request.group, need, 1)
        lent.promised[host] = _more(lent.promised.get(host, NOTHING), need)
        self.reach[:, host] -= need


def _lent(board: Board, running: Sequence[RunningTask]) -> _Lent:
    lent = _Lent()
    for task in running:
        host = board.fleet.index.get(task.host_id)
        if host is not None and task.leaving:
            lent.coming[host] = _more(lent.coming.get(host, NOTHING), task.amounts.vector)
        elif host is not None:
            lent.tasks.setdefault(host, []).append(task)
    return lent


def _reach(board: Board, running: Sequence[RunningTask]) -> Whole:
    """What each host would have at the most, if everybody left who could."""
    reach, index = board.free.copy(), board.fleet.index
    there = [task for task in running if task.host_id in index]
    hosts = np.fromiter((index[task.host_id] for task in there), np.intp, len(there))
    given = np.array([task.amounts.vector for task in there], dtype=np.int64)
    for dimension in Dimension:
        np.add.at(reach[dimension], hosts, given.reshape(-1, len(Dimension))[:, dimension])
    return reach


def _holds(free: Vector, need: Vector) -> bool:
    return all(map(ge, free, need))


def _more(some: Vector, other: Vector) -> Vector:
    return tuple(map(add, some, other))


def _less(some: Vector, other: Vector) -> Vector:
    return tuple(map(sub, some, other))
