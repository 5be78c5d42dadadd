"""Why a request waits: what rules out each host, which one comes nearest, what would help.

The counts of an explanation add up to the number of hosts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt

from fleetwide.containers.placement.amounts import Dimension
from fleetwide.containers.placement.blockers import (
    BY_CONSTRAINT,
    BY_OTHERS,
    BY_SIZE,
    BY_USE,
    FULL,
    Blocker,
)
from fleetwide.containers.placement.board import Board
from fleetwide.containers.placement.filling import zone_counts
from fleetwide.containers.placement.fleet import Fleet, Host, Whole
from fleetwide.containers.placement.kinds import Kind, facts_of
from fleetwide.models.task_states import PendingCode

Codes = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Miss:
    """The host that comes nearest, and how much of the scarcest resource it lacks."""

    host_id: str
    dimension: Dimension
    asked: int
    has: int
    amounts: tuple[int, ...]
    """All that it has: free, or in all when no host is large enough."""


@dataclass(frozen=True)
class Standing:
    """What a capacity group uses, may count on, and may take."""

    group: str
    used: tuple[int, ...]
    guarantee: Mapping[Dimension, int]
    cap: Mapping[Dimension, int]


@dataclass(frozen=True)
class Clearing:
    """A place that is being cleared for a request."""

    host_id: str
    tasks: int
    """So many that borrowed it have to leave."""
    group: str
    """Theirs; several are named one after the other."""
    until: datetime
    """The last of them is asked to end by then."""


@dataclass(frozen=True)
class Explanation:
    """Why one request has no host."""

    code: PendingCode
    asked: tuple[int, ...]
    hosts: int
    ruled_out: Mapping[Blocker, int]
    nearest: Miss | None = None
    new_hosts: tuple[str, ...] | None = None
    """Kinds of new hosts that would take it; None when it was not asked."""
    wanted: tuple[tuple[str, str], ...] = ()
    """The labels that it asks for."""
    extra: Mapping[str, float] = field(default_factory=dict)
    """Numbers of the gang that it belongs to."""
    standing: Standing | None = None
    """Of its capacity group, if that has a guarantee or a cap."""
    clearing: Clearing | None = None


@dataclass(frozen=True)
class Offer:
    """A kind of host that could be added to the fleet: an empty one."""

    name: str
    host: Host
    price: float = 1.0
    """What one costs, on any scale."""


def codes(board: Board, kind: Kind) -> Codes:
    """What rules out each host now: a ``Blocker`` each, 0 for one that could take the kind."""
    found = kind.facts.codes.copy()
    _by_others(board, kind, found)
    if kind.shape.hard.zone_balance and kind.job:
        counts = zone_counts(board.fleet.zone_of, board.marks, kind)
        fewest = min(counts.values(), default=0)
        for zone, count in counts.items():
            if count > fewest:
                first, end = board.fleet.zones[zone]
                found[first:end][found[first:end] == 0] = Blocker.ZONE_AHEAD
    for dimension in Dimension:
        full = (found == 0) & (board.free[dimension] < kind.facts.need[dimension])
        found[full] = FULL[dimension]
    return found


def _by_others(board: Board, kind: Kind, found: Codes) -> None:
    if kind.shape.hard.exclusive_host:
        found[(found == 0) & (board.tasks > 0)] = Blocker.NOT_EMPTY
    for mark, blocker in kind.repelled:
        for host in board.marks.get(mark, ()):
            first = int(found[host]) or len(Blocker)
            found[host] = min(first, blocker)


@dataclass(frozen=True)
class Offered:
    """All offers as one fleet of empty hosts, made once for all kinds that wait."""

    fleet: Fleet
    places: tuple[tuple[str, int], ...]
    """Each offer's name and its place in the fleet."""

    @classmethod
    def of(cls, offers: Sequence[Offer]) -> "Offered":
        """Hosts get names that nobody asks for: those of offers may be alike."""
        hosts = [
            replace(offer.host, host_id=f"offer {number}") for number, offer in enumerate(offers)
        ]
        fleet = Fleet.of(hosts)
        return cls(
            fleet,
            tuple(
                (offer.name, fleet.index[host.host_id])
                for offer, host in zip(offers, hosts, strict=True)
            ),
        )


def explain(board: Board, kind: Kind, offers: Offered | None = None) -> Explanation:
    """Explain why a kind finds no host on the board as it is."""
    found = codes(board, kind)
    counts = np.bincount(found, minlength=len(Blocker)).tolist()
    ruled_out = {blocker: counts[blocker] for blocker in Blocker if counts[blocker]}
    code = pending_code(ruled_out)
    return Explanation(
        code=code,
        asked=kind.facts.need,
        hosts=board.fleet.size,
        ruled_out=ruled_out,
        nearest=_nearest(board, kind, found, code),
        new_hosts=would_help(kind, offers) if offers else None,
        wanted=tuple(sorted(kind.shape.hard.labels)),
    )


def pending_code(ruled_out: Mapping[Blocker, int]) -> PendingCode:
    """The one code for all hosts: the nearest that any of them came to taking the request."""
    there = set(ruled_out)
    if not there:
        return PendingCode.NO_HOSTS
    if there & BY_USE or Blocker.NONE in there:
        return PendingCode.HOSTS_FULL
    if there & BY_OTHERS:
        return PendingCode.CONSTRAINTS_UNMET
    if there & BY_SIZE:
        return PendingCode.EXCEEDS_EVERY_HOST
    assert there <= BY_CONSTRAINT
    return PendingCode.CONSTRAINTS_UNMET


def would_help(kind: Kind, offers: Offered) -> tuple[str, ...]:
    """The offers of which a new, empty host could take the kind."""
    found = facts_of(offers.fleet, kind.shape).codes
    return tuple(name for name, place in offers.places if found[place] == Blocker.NONE)


def _nearest(board: Board, kind: Kind, found: Codes, code: PendingCode) -> Miss | None:
    if code is PendingCode.HOSTS_FULL:
        return _miss(board.fleet, kind, board.free, np.isin(found, list(BY_USE)))
    if code is PendingCode.EXCEEDS_EVERY_HOST:
        return _miss(board.fleet, kind, board.fleet.total, np.isin(found, list(BY_SIZE)))
    return None


def _miss(fleet: Fleet, kind: Kind, amounts: Whole, among: npt.NDArray[np.bool_]) -> Miss | None:
    """The host that lacks the least, in parts of what is asked; the first one among equals."""
    hosts = np.flatnonzero(among)
    if not hosts.size:
        return None
    short = (kind.facts.column - amounts[:, hosts]).clip(0) / np.maximum(kind.facts.column, 1)
    place = int(short.sum(axis=0).argmin())
    host, dimension = int(hosts[place]), Dimension(int(short[:, place].argmax()))
    has = tuple(amounts[:, host].tolist())
    return Miss(
        fleet.hosts[host].host_id, dimension, kind.facts.need[dimension], has[dimension], has
    )
