"""The engine: decides on a whole tick of requests.

``plan`` is a pure function. ``Engine`` is the same with its working copy kept, for whoever places
one tick after the other and does not want to pay for the arrays and scores again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleetwide.containers.placement.amounts import Dimension
from fleetwide.containers.placement.board import Board, Occupant
from fleetwide.containers.placement.explain import (
    Explanation,
    Offer,
    Offered,
    Standing,
    codes,
    explain,
)
from fleetwide.containers.placement.filling import fill
from fleetwide.containers.placement.fleet import Fleet, Host, Whole
from fleetwide.containers.placement.groups import CapacityGroup, Ledger
from fleetwide.containers.placement.kinds import Kind
from fleetwide.containers.placement.order import Batch, Run, batches, units
from fleetwide.containers.placement.plans import Claim, Decision, Plan, Snapshot
from fleetwide.containers.placement.preemption import guaranteed, propose
from fleetwide.containers.placement.ranking import Rankings
from fleetwide.containers.placement.requests import Gang, Request
from fleetwide.models.task_states import PendingCode

MOST_CHANGES = 200_000
MOST_EXPLAINED = 200
"""Kinds explained in one tick of an engine that is told when each request was explained last."""

ToldAt = Callable[[int], float]
"""When a request was last told why it waits, in seconds on any clock; 0 for never."""


def plan(snapshot: Snapshot) -> Plan:
    """Place what can be placed. The same snapshot always gives the same plan.

    No host gets more than it has free, constraints hold, a gang starts whole or not at all, and
    nothing waits that would fit, but for caps and for what is held: for a gang, or for those for
    whom a place is being cleared.
    """
    engine = Engine(snapshot.fleet, snapshot.occupants)
    beside = Beside(snapshot.groups, snapshot.claims, snapshot.offers)
    made, ledger = engine.decide_on(snapshot.requests, beside, snapshot.now)
    waiting = guaranteed(snapshot.requests, made, ledger)
    preemptions, claims = propose(engine.board, ledger, waiting, snapshot.running, engine.kind_of)
    return replace(made, preemptions=preemptions, claims=claims)


@dataclass(frozen=True)
class Beside:
    """What matters to a tick beside the fleet and the requests."""

    groups: Iterable[CapacityGroup] = ()
    claims: Sequence[Claim] = ()
    offers: Sequence[Offer] = ()


@dataclass(frozen=True)
class _Hold:
    """What is kept on a host for one request."""

    request: Request
    kind: Kind
    host: int
    amounts: Whole


@dataclass
class _Tick:
    """What one tick has decided so far."""

    ledger: Ledger
    offers: Offered | None
    now: float
    told_at: ToldAt | None = None
    decisions: list[Decision] = field(default_factory=list)
    waiting: dict[int, Explanation] = field(default_factory=dict)
    late: list[tuple[str, Run]] = field(default_factory=list)
    """Groups, and runs of them that found no host, to be explained at the end."""
    full: set[Kind] = field(default_factory=set)
    """Kinds that found no host since a host last got something back."""
    holder: Gang | None = None
    held: list[tuple[Kind, list[int]]] = field(default_factory=list)


class Engine:
    """A fleet to place on, one tick after the other."""

    def __init__(self, fleet: Fleet, occupants: tuple[Occupant, ...] = ()) -> None:
        self.board = Board(fleet, occupants)
        self._rankings = Rankings(self.board)
        self._apart = {name for each in occupants for name in each.shape.hard.not_with_jobs}

    def decide(
        self,
        requests: Sequence[Request],
        groups: Iterable[CapacityGroup] = (),
        offers: Sequence[Offer] = (),
        now: float = 0.0,
        told_at: ToldAt | None = None,
    ) -> Plan:
        """Place requests and keep them: the next tick sees them on their hosts.

        With ``told_at`` only some kinds are explained: those first that were told the longest ago.
        """
        return self.decide_on(requests, Beside(groups, offers=offers), now, told_at)[0]

    def decide_on(
        self,
        requests: Sequence[Request],
        beside: Beside,
        now: float = 0.0,
        told_at: ToldAt | None = None,
    ) -> tuple[Plan, Ledger]:
        """The same, with what each group uses afterwards; what is claimed is kept meanwhile."""
        self._trim()
        self._look_for_jobs(requests)
        offered = Offered.of(beside.offers) if beside.offers else None
        tick = _Tick(Ledger(self.board.fleet, beside.groups), offered, now, told_at)
        holds = self._hold(beside.claims, requests)
        self._serve(tick, requests)
        settled = self._settle(tick, holds)
        self._explain(tick)
        for number in settled:
            tick.waiting.pop(number, None)
        self._give_back(tick.held)
        held = None if tick.holder is None else tick.holder.name
        return Plan(tuple(tick.decisions), tick.waiting, held), tick.ledger

    def _serve(self, tick: _Tick, requests: Sequence[Request]) -> None:
        """Place them in the order of service."""
        if len(requests) == 1 and requests[0].gang is None:  # nothing to put in order
            only = Run(self.kind_of(requests[0]), list(requests))
            return self._run(tick, requests[0].group, only)
        for batch in batches(units(requests, self.kind_of), tick.ledger):
            if batch.gang is None:
                self._run(tick, batch.group, batch.runs[0])
            else:
                self._gang(tick, batch, batch.gang)
        return None

    def _hold(self, claims: Sequence[Claim], requests: Sequence[Request]) -> list[_Hold]:
        """Keep what is free of claimed places, of those that still wait."""
        if not claims:
            return []
        waiting = {request.request_id: request for request in requests}
        found = []
        for claim in claims:
            request = waiting.get(claim.request_id)
            host = self.board.fleet.index.get(claim.host_id)
            if request is not None and host is not None:
                kind = self.kind_of(request)
                found.append(_Hold(request, kind, host, self.board.hold(kind, host)))
        return found

    def _settle(self, tick: _Tick, holds: Sequence[_Hold]) -> list[int]:
        """Give what was kept to those that found no other place, where it is enough by now."""
        placed = {decision.request_id for decision in tick.decisions} if holds else set[int]()
        settled = []
        for hold in holds:
            self.board.give(hold.host, hold.amounts)
            request, need = hold.request, hold.kind.facts.need
            if request.request_id in placed or not tick.ledger.allowed(request.group, need, 1):
                continue
            roomy = (self.board.free[:, hold.host] >= hold.kind.facts.row).all()
            if roomy and codes(self.board, hold.kind)[hold.host] == 0:
                self.board.take(hold.kind, hold.host)
                tick.ledger.book(request.group, need, 1)
                self._decide(tick, hold.kind, [request], [hold.host])
                settled.append(request.request_id)
        return settled

    def finish(self, request: Request, host_id: str, gpus: tuple[int, ...] = ()) -> None:
        """A task that was placed is over: its host has its share again."""
        host = self.board.fleet.index[host_id]
        kind = self.kind_of(request)
        self.board.take(kind, host, -1)
        if request.job and not kind.job:
            self.board.leave(("job", request.job), host, -1)
        if gpus:
            self.board.devices[host] = tuple(sorted((*self.board.devices[host], *gpus)))

    def look_again(self, host: Host, occupants: Iterable[Occupant]) -> None:
        """A host as it was found to be: what is free there, and all who are there.

        Its size and its traits are those that it had: else it takes another fleet (``moved_to``).
        """
        there = tuple(occupants)
        self._apart.update(name for each in there for name in each.shape.hard.not_with_jobs)
        self.board.look_again(host, there)

    def seen(self) -> list[Host]:
        """All hosts with what is free on them now."""
        return [self.board.seen(number) for number in range(self.board.fleet.size)]

    def moved_to(self, fleet: Fleet) -> "Engine":
        """An engine for a fleet that has changed; who is on the hosts of both stays known."""
        moved = Engine(fleet)
        moved.board.take_over(self.board)
        moved._apart = set(self._apart)
        return moved

    def kind_of(self, request: Request) -> Kind:
        """The kind of a request; its job is part of it only where that makes a difference."""
        job = request.job
        matters = job and (request.shape.looks_at_its_job or job in self._apart)
        return self.board.kind(request.shape, job if matters else "")

    def _look_for_jobs(self, requests: Sequence[Request]) -> None:
        for shape in {id(request.shape): request.shape for request in requests}.values():
            self._apart |= shape.hard.not_with_jobs

    def _trim(self) -> None:
        """Forget old changes, and the scores that have not followed them."""
        if len(self.board.changed) > MOST_CHANGES:
            self.board.changed.clear()
            self._rankings = Rankings(self.board)

    def _run(self, tick: _Tick, group: str, run: Run) -> None:
        need = run.kind.facts.need
        allowed = tick.ledger.allowed(group, need, len(run.requests))
        full = run.kind in tick.full or not allowed
        hosts = [] if full else fill(self._rankings, run.kind, allowed)
        placed = len(hosts)
        tick.ledger.book(group, need, placed)
        self._decide(tick, run.kind, run.requests, hosts)
        if placed < allowed:
            if not run.kind.balanced:  # a balance may be right again after the next task
                tick.full.add(run.kind)
            tick.late.append((group, Run(run.kind, run.requests[placed:allowed])))
        if allowed < len(run.requests):
            self._above_cap(tick, group, Run(run.kind, run.requests[allowed:]))

    def _decide(
        self, tick: _Tick, kind: Kind, requests: Sequence[Request], hosts: list[int]
    ) -> None:
        board, ids = self.board, self.board.fleet.ids
        if not kind.job:
            for request, host in zip(requests, hosts, strict=False):
                if request.job:
                    board.leave(("job", request.job), host)
        numbers = [request.request_id for request in requests[: len(hosts)]]
        names = [ids[host] for host in hosts]
        if kind.shape.amounts.gpus:
            devices = [board.devices_for(kind, host) for host in hosts]
            tick.decisions.extend(map(Decision, numbers, names, devices))
        else:
            tick.decisions.extend(map(Decision, numbers, names))

    def _gang(self, tick: _Tick, batch: Batch, gang: Gang) -> None:
        """All of it or nothing; the first gang that does not fit may hold what there is for it."""
        members = sum(len(run.requests) for run in batch.runs)
        if members < gang.size:
            return self._incomplete(tick, batch, gang, members)
        if not self._within_cap(tick, batch):
            for run in batch.runs:
                self._above_cap(tick, batch.group, run)
            return None
        taken = [(run, fill(self._rankings, run.kind, len(run.requests))) for run in batch.runs]
        if all(len(hosts) == len(run.requests) for run, hosts in taken):
            for run, hosts in taken:
                tick.ledger.book(batch.group, run.kind.facts.need, len(hosts))
                self._decide(tick, run.kind, run.requests, hosts)
            return None
        self._explain_gang(tick, gang, taken)
        partly = [(run.kind, hosts) for run, hosts in taken]
        if tick.holder is None and _may_hold(gang, tick.now) and _could_ever_fit(batch.runs):
            tick.holder, tick.held = gang, partly
        else:
            self._give_back(partly)
            tick.full.clear()
        return None

    def _give_back(self, taken: list[tuple[Kind, list[int]]]) -> None:
        for kind, hosts in taken:
            for host in hosts:
                self.board.take(kind, host, -1)

    def _within_cap(self, tick: _Tick, batch: Batch) -> bool:
        group, total = tick.ledger.group(batch.group), [0] * len(Dimension)
        for run in batch.runs:
            for dimension, asked in enumerate(run.kind.facts.need):
                total[dimension] += asked * len(run.requests)
        used = tick.ledger.used(batch.group)
        return all(used[each] + total[each] <= cap for each, cap in group.cap.items())

    def _explain(self, tick: _Tick) -> None:
        """Why each run that came late has no host: one reason for all of a kind and a group."""
        late: dict[Kind, dict[str, list[int]]] = {}
        for group, run in tick.late:
            numbers = late.setdefault(run.kind, {}).setdefault(group, [])
            numbers.extend(each.request_id for each in run.requests)
        for kind in _longest_untold(late, tick.told_at):
            reason = explain(self.board, kind, tick.offers)
            for group, numbers in late[kind].items():
                own = replace(reason, standing=_standing(tick.ledger, group))
                tick.waiting.update((number, own) for number in numbers)

    def _above_cap(self, tick: _Tick, group: str, run: Run) -> None:
        reason = replace(
            explain(self.board, run.kind),
            code=PendingCode.ABOVE_CAPACITY_LIMIT,
            new_hosts=(),
            nearest=None,
            standing=_standing(tick.ledger, group),
        )
        tick.waiting.update((request.request_id, reason) for request in run.requests)

    def _incomplete(self, tick: _Tick, batch: Batch, gang: Gang, members: int) -> None:
        for run in batch.runs:
            reason = replace(
                explain(self.board, run.kind),
                code=PendingCode.GANG_INCOMPLETE,
                new_hosts=(),
                nearest=None,
                extra={"gangSize": gang.size, "gangMembers": members},
            )
            tick.waiting.update((request.request_id, reason) for request in run.requests)

    def _explain_gang(
        self, tick: _Tick, gang: Gang, taken: Sequence[tuple[Run, list[int]]]
    ) -> None:
        """What each run that does not fit lacks; the others wait for it."""
        extra = {"gangSize": gang.size, "gangFits": sum(len(hosts) for _, hosts in taken)}
        for run, hosts in taken:
            reason = replace(explain(self.board, run.kind, tick.offers), extra=extra)
            if len(hosts) == len(run.requests):
                code = PendingCode.GANG_INCOMPLETE
                reason = replace(reason, code=code, nearest=None, new_hosts=())
            tick.waiting.update((request.request_id, reason) for request in run.requests)


def _may_hold(gang: Gang, now: float) -> bool:
    since = now if gang.held_since is None else gang.held_since
    return now - since < gang.hold_seconds


def _could_ever_fit(runs: Sequence[Run]) -> bool:
    """Whether every member has some host, full or not: otherwise waiting is of no use."""
    return all((run.kind.facts.codes == 0).any() for run in runs)


def _longest_untold(
    late: Mapping[Kind, Mapping[str, list[int]]], told_at: ToldAt | None
) -> Iterable[Kind]:
    """The kinds to explain: a tick with thousands of them would take longer than its lease."""
    if told_at is None or len(late) <= MOST_EXPLAINED:
        return late

    def longest(kind: Kind) -> float:
        return min(told_at(number) for numbers in late[kind].values() for number in numbers)

    return sorted(late, key=longest)[:MOST_EXPLAINED]


def _standing(ledger: Ledger, name: str) -> Standing | None:
    """How the group stands; None for one that has neither a guarantee nor a cap."""
    group = ledger.group(name)
    if not group.guarantee and not group.cap:
        return None
    return Standing(name, ledger.used(name), group.guarantee, group.cap)
