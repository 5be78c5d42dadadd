"""Which host to empty next, so that a whole one becomes free: by moves that never go in a circle.

Each round either lets a request in that waits and fits nowhere, or lowers the number of hosts that
are used: what moves goes only to hosts that have tasks already. So rounds end by themselves.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from fleetwide.containers.placement.amounts import Amounts
from fleetwide.containers.placement.board import Occupant
from fleetwide.containers.placement.engine import Engine
from fleetwide.containers.placement.fleet import Fleet, Host
from fleetwide.containers.placement.plans import Plan, Snapshot
from fleetwide.containers.placement.requests import Request, Shape
from fleetwide.containers.placement.scaling import (
    NOT_BY_HOSTS,
    Emptying,
    Move,
    cheapest_to_empty,
)

MOST_REQUESTS = 20
"""Waiting requests that room is looked for, in the order in which they came."""


@dataclass(frozen=True)
class Freed:
    """A host that is worth emptying, and what for."""

    emptying: Emptying
    request_id: int | None = None
    """The waiting request that has room afterwards; None where a host less is used."""


def next_to_free(
    snapshot: Snapshot, made: Plan, moves: Sequence[Move], candidates: Collection[str]
) -> Freed | None:
    """The host to empty now, if any: for work that waits, else to have one more host empty.

    ``made`` is the plan of the snapshot; ``moves`` are all tasks on the candidates.
    """
    empties = _empties(snapshot, moves, candidates)
    waiting = _waiting(snapshot, made)
    for emptying in empties if waiting else ():
        after = _after(snapshot, moves, emptying)
        for request in waiting:
            if after.decide([request]).decisions:
                return Freed(emptying, request.request_id)
    used = {host.host_id for host in snapshot.fleet.hosts if host.tasks}
    packed = (one for one in empties if used.issuperset(one.targets.values()))
    return next((Freed(one) for one in packed), None)


def _waiting(snapshot: Snapshot, made: Plan) -> list[Request]:
    """Requests that more room would help, in the order in which they came."""
    found = []
    for request in snapshot.requests:
        explained = made.waiting.get(request.request_id)
        if explained is not None and explained.code not in NOT_BY_HOSTS:
            found.append(request)
    return found[:MOST_REQUESTS]


def _empties(
    snapshot: Snapshot, moves: Sequence[Move], candidates: Collection[str]
) -> tuple[Emptying, ...]:
    """The candidates that have tasks and can be emptied, the cheapest first."""
    wanted = {move.host_id for move in moves} & set(candidates)
    stays = Request(0, Shape(Amounts()))
    others = [
        Move(stays, host_id, movable=False)
        for host_id in snapshot.fleet.ids
        if host_id not in wanted
    ]
    mine = [move for move in moves if move.host_id in wanted]
    return cheapest_to_empty(snapshot, [*mine, *others], len(wanted)) if wanted else ()


def _after(snapshot: Snapshot, moves: Sequence[Move], emptying: Emptying) -> Engine:
    """The engine over the fleet as it is when all of the host's tasks have moved."""
    left = emptying.host_id
    moved = [move.request for move in moves if move.host_id == left]
    come: dict[str, list[Request]] = {}
    for request in moved:
        come.setdefault(emptying.targets[request.request_id], []).append(request)
    hosts = []
    for host in snapshot.fleet.hosts:
        if host.host_id == left:
            hosts.append(_with(replace(host, free_gpus=None), moved, -1))
        else:
            hosts.append(_with(host, come.get(host.host_id, []), 1))
    stay = [one for one in snapshot.occupants if one.host_id != left]
    new = [
        Occupant(host_id, request.shape, request.job)
        for host_id, requests in come.items()
        for request in requests
    ]
    return Engine(Fleet.of(hosts), (*stay, *new))


def _with(host: Host, requests: Sequence[Request], sign: int) -> Host:
    """The host with these tasks more (1), or less (-1)."""
    if not requests:
        return host
    taken = zip(*(request.shape.amounts.vector for request in requests), strict=True)
    free = [
        have - sign * sum(amounts) for have, amounts in zip(host.free.vector, taken, strict=True)
    ]
    return replace(host, free=Amounts(*free), tasks=host.tasks + sign * len(requests))
