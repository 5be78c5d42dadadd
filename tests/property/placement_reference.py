"""The engine's rules as a slow, obvious program: every request, every host, no arrays, no caches."""

from collections import Counter, deque
from dataclasses import dataclass, field

from fleetwide.containers.placement import (
    Fit,
    Host,
    Lifecycle,
    Request,
    Shape,
    Snapshot,
    Wishes,
)
from fleetwide.containers.placement.groups import Ledger
from fleetwide.containers.placement.kinds import (
    AVOID_WEIGHT,
    FIT_WEIGHT,
    IMAGE_WEIGHT,
    SOFT_WEIGHT,
    STANDING_WEIGHT,
)


@dataclass
class Spot:
    """A host with what is on it."""

    host: Host
    free: list[int]
    tasks: int
    there: list[tuple[Shape, str]] = field(default_factory=list)
    """Shape and job of each task that is known."""

    def put(self, request: Request) -> None:
        self.free = [a - b for a, b in zip(self.free, request.shape.amounts.vector, strict=True)]
        self.tasks += 1
        self.there.append((request.shape, request.job))

    def take_back(self, request: Request) -> None:
        self.free = [a + b for a, b in zip(self.free, request.shape.amounts.vector, strict=True)]
        self.tasks -= 1
        self.there.remove((request.shape, request.job))

    def has_job(self, job: str) -> bool:
        return bool(job) and any(name == job for _, name in self.there)


def granted(host: Host, wishes: Wishes) -> dict[str, bool]:
    """Each wish about a host itself that is set."""
    traits = host.traits
    table = {
        "active": (wishes.active_host, traits.lifecycle is Lifecycle.ACTIVE),
        "zone": (wishes.zones, traits.zone in wishes.zones),
        "id": (wishes.machine_ids, host.host_id in wishes.machine_ids),
        "group": (wishes.machine_groups, traits.machine_group in wishes.machine_groups),
        "type": (wishes.machine_types, traits.machine_type in wishes.machine_types),
        "backend": (wishes.backends, traits.backend in wishes.backends),
        "cpu": (wishes.cpu_models, traits.cpu_model in wishes.cpu_models),
        "labels": (wishes.labels, wishes.labels <= traits.labels),
        "not": (wishes.not_labels, not (wishes.not_labels & traits.labels)),
    }
    return {name: holds for name, (is_set, holds) in table.items() if is_set}


def suits(host: Host, shape: Shape) -> bool:
    """Whether a host could ever take a shape, were it empty."""
    return (
        host.traits.lifecycle in (Lifecycle.ACTIVE, Lifecycle.PHASED_OUT)
        and host.traits.taints <= shape.tolerations
        and all(granted(host, shape.hard).values())
        and all(a <= b for a, b in zip(shape.amounts.vector, host.total.vector, strict=True))
    )


def takes(spot: Spot, request: Request) -> bool:
    """Whether a host has room for a request, and nothing on it keeps the request off."""
    shape, job, hard = request.shape, request.job, request.shape.hard
    return (
        suits(spot.host, shape)
        and all(a <= b for a, b in zip(shape.amounts.vector, spot.free, strict=True))
        and not (hard.exclusive_host and spot.tasks)
        and not (hard.unique_host and spot.has_job(job))
        and not any(spot.has_job(name) for name in hard.not_with_jobs)
        and not any(other.hard.exclusive_host for other, _ in spot.there)
        and not any(job in other.hard.not_with_jobs for other, _ in spot.there if job)
        and not any(shape.ports & other.ports for other, _ in spot.there)
    )


def score(spot: Spot, request: Request) -> float:
    """How good a host is, by the same formula as the engine's."""
    host, shape, soft = spot.host, request.shape, request.shape.soft
    welcome = 1.0 if host.traits.lifecycle is Lifecycle.ACTIVE else 0.5
    value = STANDING_WEIGHT * (welcome * host.quality)
    if shape.image:
        value += IMAGE_WEIGHT * float(shape.image in host.images)
    about_tasks = [soft.unique_host, soft.exclusive_host, soft.zone_balance]
    count = len(granted(host, soft)) + sum(about_tasks) + bool(soft.not_with_jobs)
    if count:
        kept = sum(granted(host, soft).values()) + sum(about_tasks) + bool(soft.not_with_jobs)
        value += SOFT_WEIGHT / count * kept
    if host.host_id in shape.avoid_hosts:
        value -= AVOID_WEIGHT
    has = [amount > 0 for amount in host.total.vector]
    free, takes = 0.0, 0.0
    for amount, need, total, there in zip(
        spot.free, shape.amounts.vector, host.total.vector, has, strict=True
    ):
        weight = 1.0 / (max(total, 1) * max(sum(has), 1)) if there else 0.0
        free, takes = free + amount * weight, takes + need * weight
    denied = (
        (soft.unique_host and spot.has_job(request.job))
        + any(spot.has_job(name) for name in soft.not_with_jobs)
        + (soft.exclusive_host and spot.tasks > 0)
    )
    if shape.fit is Fit.PACK:
        value = value + (FIT_WEIGHT + FIT_WEIGHT * takes) - FIT_WEIGHT * free
    else:
        value = value - FIT_WEIGHT * takes + FIT_WEIGHT * free
    return value - SOFT_WEIGHT / max(count, 1) * denied


class Reference:
    """Places a snapshot request by request."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.spots = [
            Spot(host, list(host.free.vector), host.tasks)
            for host in sorted(
                snapshot.fleet.hosts, key=lambda host: (host.traits.zone, host.host_id)
            )
        ]
        for occupant in snapshot.occupants:
            for spot in self.spots:
                if spot.host.host_id == occupant.host_id:
                    spot.there += [(occupant.shape, occupant.job)] * occupant.count
        self.ledger = Ledger(snapshot.fleet, snapshot.groups)
        self.placed: dict[int, str] = {}
        self.held: str | None = None

    def run(self) -> Counter[tuple[Shape, str, str]]:
        """How many of each shape and job go to each host."""
        queues: dict[str, deque[list[Request]]] = {}
        for unit in self.units():
            queues.setdefault(unit[0].group, deque()).append(unit)
        while queues:
            name = min(queues, key=self.ledger.turn)
            unit = queues[name][0]
            if unit[0].gang is not None:
                self.gang(unit)
                queues[name].popleft()
            else:
                self.single(unit.pop(0))
                if not unit:
                    queues[name].popleft()
            if not queues[name]:
                del queues[name]
        requests = {request.request_id: request for request in self.snapshot.requests}
        return Counter(
            (requests[number].shape, requests[number].job, host)
            for number, host in self.placed.items()
        )

    def units(self) -> list[list[Request]]:
        units: list[list[Request]] = []
        for request in self.snapshot.requests:
            for unit in units:
                if self.together(unit[0], request):
                    unit.append(request)
                    break
            else:
                units.append([request])
        for unit in units:
            shapes = [each.shape for each in unit]  # equal members of a gang are served together
            unit.sort(key=lambda each: (-self.size(each.shape), shapes.index(each.shape)))
        return sorted(
            units,
            key=lambda unit: (
                -self.leader(unit).priority,
                self.leader(unit).rank,
                -(
                    self.size(unit[0].shape)
                    if unit[0].gang is None
                    else sum(self.size(each.shape) for each in unit)
                ),
                self.leader(unit).request_id,
            ),
        )

    @staticmethod
    def leader(unit: list[Request]) -> Request:
        return min(unit, key=lambda each: each.request_id)

    def together(self, first: Request, second: Request) -> bool:
        if first.gang is not None or second.gang is not None:
            return first.gang == second.gang
        same_job = first.job == second.job
        return (
            (first.shape, first.group, first.priority, first.rank)
            == (second.shape, second.group, second.priority, second.rank)
        ) and (same_job or not (self.job_matters(first) or self.job_matters(second)))

    def job_matters(self, request: Request) -> bool:
        named = {name for each in self.snapshot.requests for name in each.shape.hard.not_with_jobs}
        named |= {
            name for each in self.snapshot.occupants for name in each.shape.hard.not_with_jobs
        }
        return request.shape.looks_at_its_job or request.job in named

    def size(self, shape: Shape) -> float:
        fleet = self.snapshot.fleet
        if not fleet.hosts:
            return max(asked / 1.0 for asked in shape.amounts.vector)
        totals = [host.total.vector for host in fleet.hosts]
        means: list[float] = [sum(column) / len(totals) for column in zip(*totals, strict=True)]
        return max(
            asked / max(mean, 1.0) for asked, mean in zip(shape.amounts.vector, means, strict=True)
        )

    def best(self, request: Request) -> Spot | None:
        spots = [spot for spot in self.spots if takes(spot, request)]
        shape, job = request.shape, request.job
        if job and (shape.hard.zone_balance or shape.soft.zone_balance):
            zones = {spot.host.traits.zone for spot in self.spots if suits(spot.host, shape)}
            if not shape.hard.zone_balance:
                zones = {spot.host.traits.zone for spot in spots}
            counts = {
                zone: sum(
                    name == job
                    for spot in self.spots
                    if spot.host.traits.zone == zone
                    for _, name in spot.there
                )
                for zone in zones
            }
            fewest = min(counts.values(), default=0)
            spots = [spot for spot in spots if counts[spot.host.traits.zone] == fewest]
        return max(spots, key=lambda spot: score(spot, request), default=None)

    def single(self, request: Request) -> None:
        need = request.shape.amounts.vector
        if not self.ledger.allowed(request.group, need, 1):
            return
        spot = self.best(request)
        if spot is not None:
            spot.put(request)
            self.placed[request.request_id] = spot.host.host_id
            self.ledger.book(request.group, need, 1)

    def gang(self, unit: list[Request]) -> None:
        gang, group = unit[0].gang, self.leader(unit).group
        assert gang is not None
        caps = self.ledger.group(group).cap
        total = [
            sum(column) for column in zip(*(r.shape.amounts.vector for r in unit), strict=True)
        ]
        used = self.ledger.used(group)
        if len(unit) < gang.size or any(used[d] + total[d] > cap for d, cap in caps.items()):
            return
        put: list[tuple[Spot, Request]] = []
        for request in unit:
            spot = self.best(request)
            if spot is not None:
                spot.put(request)
                put.append((spot, request))
        if len(put) == len(unit):
            for spot, request in put:
                self.placed[request.request_id] = spot.host.host_id
                self.ledger.book(group, request.shape.amounts.vector, 1)
            return
        since = self.snapshot.now if gang.held_since is None else gang.held_since
        able = all(any(suits(spot.host, each.shape) for spot in self.spots) for each in unit)
        if self.held is None and able and self.snapshot.now - since < gang.hold_seconds:
            self.held = gang.name
            return
        for spot, request in put:
            spot.take_back(request)
