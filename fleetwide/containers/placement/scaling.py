"""What-if: how many new hosts waiting requests need, and which host is the cheapest to empty."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fleetwide.containers.placement.engine import Engine
from fleetwide.containers.placement.explain import Offer
from fleetwide.containers.placement.fleet import TAKES_WORK, Fleet
from fleetwide.containers.placement.plans import Plan, Snapshot
from fleetwide.containers.placement.requests import Request
from fleetwide.models.task_states import PendingCode

# What a new host cannot change.
NOT_BY_HOSTS = frozenset({PendingCode.ABOVE_CAPACITY_LIMIT, PendingCode.WAITING_RETRY})


@dataclass(frozen=True)
class ScaleUp:
    """How many hosts of each kind to add, and the requests that even then have none."""

    hosts: Mapping[str, int]
    left: tuple[int, ...]


@dataclass(frozen=True)
class Move:
    """A task that would have to move, and what moving it costs (lost work, on any scale)."""

    request: Request
    host_id: str
    cost: float = 1.0
    movable: bool = True


@dataclass(frozen=True)
class Emptying:
    """A host that could be emptied: what that costs, and where its tasks would go."""

    host_id: str
    cost: float
    targets: Mapping[int, str]


def scale_up(
    requests: Sequence[Request], made: Plan, offers: Sequence[Offer], most: int
) -> ScaleUp:
    """New hosts for the requests that a plan left waiting: a dry run on hosts that are not there.

    Takes the kind of host that places the most for its price, then goes on with the rest;
    ``most`` bounds the number of new hosts.
    """
    rest = [each for each in requests if _may_help(each, made)]
    chosen: dict[str, int] = {}
    while rest and most > sum(chosen.values()):
        tried = [_tried(rest, offer, most - sum(chosen.values())) for offer in offers]
        useful = [each for each in tried if each.placed]
        if not useful:
            break
        best = max(useful, key=lambda each: each.value)
        chosen[best.offer.name] = chosen.get(best.offer.name, 0) + best.hosts
        rest = [each for each in rest if each.request_id not in best.placed]
    return ScaleUp(chosen, tuple(each.request_id for each in rest))


def _may_help(request: Request, made: Plan) -> bool:
    explained = made.waiting.get(request.request_id)
    return explained is not None and explained.code not in NOT_BY_HOSTS


@dataclass(frozen=True)
class _Trial:
    offer: Offer
    hosts: int
    placed: frozenset[int]

    @property
    def value(self) -> float:
        """Requests placed for a unit of money; the total price is what counts among equals."""
        return len(self.placed) / max(self.hosts * self.offer.price, 1e-9)


def _tried(requests: Sequence[Request], offer: Offer, most: int) -> _Trial:
    """The dry run on new hosts of one kind, no more of them than requests."""
    count = min(most, len(requests))
    fresh = [
        replace(offer.host, host_id=f"{offer.name}-{number:06d}", free=offer.host.total)
        for number in range(count)
    ]
    made = Engine(Fleet.of(fresh)).decide(requests)
    used = {decision.host_id for decision in made.decisions}
    return _Trial(offer, len(used), frozenset(each.request_id for each in made.decisions))


def cheapest_to_empty(
    snapshot: Snapshot, moves: Sequence[Move], most: int = 1
) -> tuple[Emptying, ...]:
    """Hosts whose tasks all find another host, the cheapest ones first.

    ``moves`` are all tasks that run; each answer stands for itself, as if only that host went.
    Hosts with a task that cannot move are left out.
    """
    by_host: dict[str, list[Move]] = {
        host.host_id: [] for host in snapshot.fleet.hosts if host.traits.lifecycle in TAKES_WORK
    }
    for move in moves:
        by_host.setdefault(move.host_id, []).append(move)
    order = sorted(
        (sum(move.cost for move in tasks), host_id)
        for host_id, tasks in by_host.items()
        if all(move.movable for move in tasks) and host_id in snapshot.fleet.index
    )
    found: list[Emptying] = []
    for cost, host_id in order:
        targets = _elsewhere(snapshot, by_host[host_id], host_id)
        if targets is not None:
            found.append(Emptying(host_id, cost, targets))
        if len(found) == most:
            break
    return tuple(found)


def _elsewhere(snapshot: Snapshot, moves: Sequence[Move], host_id: str) -> Mapping[int, str] | None:
    """Where the tasks of a host would go without it; None when one of them finds no place."""
    if not moves:
        return {}
    rest = [host for host in snapshot.fleet.hosts if host.host_id != host_id]
    others = tuple(each for each in snapshot.occupants if each.host_id != host_id)
    made = Engine(Fleet.of(rest), others).decide([move.request for move in moves])
    if made.waiting:
        return None
    return {decision.request_id: decision.host_id for decision in made.decisions}
