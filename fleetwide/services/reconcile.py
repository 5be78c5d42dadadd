"""Which copies of a service to start and to stop, from how many of each revision there shall be.

An index stays with a copy for its life. Who replaces a copy that has ended gets its index; who is
started beside one that still runs (a deploy, a move, a silent host) gets the lowest that is free.
So no two copies that may run have the same.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fleetwide.models.copies import Copy
from fleetwide.models.service_moves import CopyMove, CopyStop
from fleetwide.models.task_states import RETRY_BUDGET, EndReason, RetryBudget, TaskState

MOST_STOPPED = 100
"""Copies of one revision that one look gives up; the next one goes on."""
MOST_STARTING = 300
"""Copies of one service that are on their way at a time."""
LEAST_DELAY_SECONDS = 1.0
MOST_DELAY_SECONDS = 30.0
LONG_RUN_SECONDS = 300.0
"""A copy that ran for so long starts the back-off of its index anew."""
# The order in which copies are given up; those of one step go by host, zone and age.
_GIVEN_UP = (
    TaskState.DISCONNECTED,
    TaskState.ACCEPTED,
    TaskState.LAUNCHED,
    TaskState.START_INITIATED,
    TaskState.STARTED,
)
_COUNTED = frozenset({RetryBudget.USER, RetryBudget.SYSTEM, RetryBudget.NONE})
_MADE_WAY = frozenset({RetryBudget.EVICTION, RetryBudget.PREEMPTION})
_ASKED_FOR = frozenset({EndReason.KILLED, EndReason.SCALED_DOWN, EndReason.SUPERSEDED})


def next_streak(before: int, reason: EndReason, ran_seconds: float) -> int:
    """How many copies of an index have ended soon after their start, one after the other.

    ``before`` is what it was; ends that somebody asked for, and moves, count for nothing.
    """
    if reason in _ASKED_FOR or RETRY_BUDGET[reason] not in _COUNTED:
        return 0
    return 0 if ran_seconds >= LONG_RUN_SECONDS else before + 1


def delay_seconds(streak: int) -> float:
    """How long after an end the index gets its next copy: 1 s, doubled each time, at most 30."""
    if streak <= 0:
        return 0.0
    return min(LEAST_DELAY_SECONDS * 2.0 ** min(streak - 1, 10), MOST_DELAY_SECONDS)


@dataclass(frozen=True)
class Vacancy:
    """An index whose last copy has ended without being scaled down."""

    index: int
    revision: int
    """Of that copy."""
    not_before: datetime
    """When the back-off is over."""

    @classmethod
    def after(cls, ended: Copy, streak: int) -> "Vacancy":
        """What a copy left behind that has ended."""
        at = ended.finished_at or ended.accepted_at
        pause = timedelta(seconds=delay_seconds(streak))
        return cls(ended.membership.index, ended.membership.revision, at + pause)


@dataclass(frozen=True)
class Goal:
    """How many copies there shall be, and how far it may be left on the way."""

    want: Mapping[int, int]
    """Live copies by revision."""
    target: int
    """The revision that all shall have in the end."""
    desired: int
    surge: int = 0
    """Copies beyond ``desired`` that may live."""
    unavailable: int = 0
    """Copies that may be missing; used only where there is no surge."""
    healthy_seconds: float = 0.0
    replace_silent: bool = True
    """Do not wait for copies whose host does not answer."""
    unserved: Collection[int] = ()
    """Revisions whose copies get no requests now: nobody can rely upon them."""

    @property
    def most(self) -> int:
        """The most copies that live at a time."""
        return max(self.desired + self.surge, sum(self.want.values()))


@dataclass(frozen=True)
class Start:
    """A copy to start."""

    index: int
    revision: int


@dataclass(frozen=True)
class Stopping:
    """A copy to stop, and why."""

    task_id: str
    stop: CopyStop


@dataclass(frozen=True)
class Steps:
    """What to do now, and when to look again though nothing changes."""

    starts: tuple[Start, ...] = ()
    stops: tuple[Stopping, ...] = ()
    again_at: datetime | None = None
    backing_off: int = 0
    """Copies that wait for the end of their back-off."""


def _keeps_its_place(one: Copy) -> bool:
    """Whether the next one has its index, with the back-off that its end leads to."""
    if one.state is not TaskState.KILL_INITIATED or one.reason in (None, EndReason.SCALED_DOWN):
        return False
    assert one.reason is not None
    return RETRY_BUDGET[one.reason] not in _MADE_WAY


@dataclass
class _Work:
    """The copies, sorted, and what has been decided so far."""

    goal: Goal
    copies: Sequence[Copy]
    now: datetime
    stops: list[Stopping] = field(default_factory=list)

    def __post_init__(self) -> None:
        there = [one for one in self.copies if one.lives and not self._is_silent(one)]
        self.live = {one.membership.task_id: one for one in there}

    def _is_silent(self, one: Copy) -> bool:
        return self.goal.replace_silent and one.state is TaskState.DISCONNECTED

    def staying(self, revision: int) -> list[Copy]:
        return [
            one
            for one in self.live.values()
            if not one.leaving and one.membership.revision == revision
        ]

    def ending(self, revision: int) -> int:
        """Copies that end for no reason of their service's: their places wait for their ends."""
        return sum(
            one.membership.revision == revision and _keeps_its_place(one) for one in self.copies
        )

    def ready(self) -> int:
        seconds = self.goal.healthy_seconds
        relied_upon = [
            one for one in self.live.values() if one.membership.revision not in self.goal.unserved
        ]
        return sum(one.ready(self.now, seconds) for one in relied_upon)

    def stop(self, one: Copy, reason: EndReason, message: str) -> None:
        self.live.pop(one.membership.task_id, None)
        self.stops.append(
            Stopping(one.membership.task_id, CopyStop(reason=reason, message=message))
        )


def reconcile(
    goal: Goal, copies: Sequence[Copy], vacant: Collection[Vacancy], now: datetime
) -> Steps:
    """What brings the copies closer to ``goal``; nothing once they are there.

    ``copies`` are all that are not over; ``vacant`` are indices whose last copy has ended.
    """
    work = _Work(goal, copies, now)
    for revision in sorted({one.membership.revision for one in work.live.values()}):
        _give_up(work, revision)
    _let_go(work)
    starts, waits = _starts(work, vacant)
    return Steps(
        tuple(starts),
        tuple(work.stops),
        again_at=min(waits, default=None),
        backing_off=len(waits),
    )


def _give_up(work: _Work, revision: int) -> None:
    """Stop copies of a revision that are too many, in the order of a scale-down."""
    goal = work.goal
    staying = work.staying(revision)
    wanted = goal.want.get(revision, 0)
    if revision == goal.target:
        message = f"{wanted} copies are enough"
    else:
        message = f"revision {goal.target} takes the place of revision {revision}"
    excess = min(len(staying) - wanted, MOST_STOPPED)
    for one in scale_down(staying, excess, work.now, goal.healthy_seconds):
        work.stop(one, EndReason.SCALED_DOWN, message)


def scale_down(
    copies: Sequence[Copy], count: int, now: datetime, healthy_seconds: float = 0.0
) -> list[Copy]:
    """Which ``count`` of the copies to give up: those that are least far, then from full places.

    Of copies that are equally far, first one that is not ready, then one on the host with the
    most of them, of the zone with the most of them, the oldest.
    """
    hosts, zones = Counter(one.host_id for one in copies), Counter(one.zone for one in copies)
    left = [_Candidate.of(one, now, healthy_seconds) for one in copies]
    chosen = list[Copy]()
    while left and len(chosen) < count:
        first = min(left, key=lambda one: one.order(hosts[one.host], zones[one.zone]))
        left.remove(first)
        hosts[first.host] -= 1
        zones[first.zone] -= 1
        chosen.append(first.copy)
    return chosen


@dataclass(frozen=True, eq=False, slots=True)
class _Candidate:
    """A copy that may be given up, with what does not change while others are."""

    copy: Copy
    step: tuple[int, bool]
    age: tuple[datetime, int]
    host: str | None
    zone: str

    @classmethod
    def of(cls, copy: Copy, now: datetime, healthy_seconds: float) -> "_Candidate":
        step = (_GIVEN_UP.index(copy.state), copy.ready(now, healthy_seconds))
        age = (copy.accepted_at, copy.membership.index)
        return cls(copy, step, age, copy.host_id, copy.zone)

    def order(self, on_host: int, in_zone: int) -> tuple[object, ...]:
        """The least goes first: of the fullest host, then of the fullest zone."""
        return (self.step, -on_host, -in_zone, self.age)


def _let_go(work: _Work) -> None:
    """Stop copies that were asked to leave, as far as others are ready in their place."""
    goal = work.goal
    least = goal.desired if goal.surge else goal.desired - goal.unavailable
    leaving, ready = [one for one in work.live.values() if one.leaving], work.ready()
    for one in sorted(leaving, key=lambda one: one.ready(work.now, goal.healthy_seconds)):
        counts = one.ready(work.now, goal.healthy_seconds)
        move = one.move or CopyMove(message="it has to leave its host")
        if move.forced or not counts or ready > least:
            work.stop(one, move.reason, move.message)
            ready -= counts


def _starts(work: _Work, vacant: Collection[Vacancy]) -> tuple[list[Start], list[datetime]]:
    """Copies to start, and when those may that have to wait for the end of their back-off."""
    goal = work.goal
    taken = {one.membership.index for one in work.copies}
    free = [one for one in vacant if one.index not in taken]
    kept = {one.index for one in free}
    coming = sum(one.state is not TaskState.STARTED for one in work.live.values())
    room = min(goal.most - len(work.live), MOST_STARTING - coming)
    found, waits = list[Start](), list[datetime]()
    for revision in sorted(goal.want):
        there = len(work.staying(revision)) + work.ending(revision)
        missing = goal.want[revision] - there
        for _ in range(min(missing, room - len(found) - len(waits))):
            place = _vacancy_for(revision, free)
            if place is not None:
                free.remove(place)
            if place is not None and place.not_before > work.now:
                waits.append(place.not_before)
                continue
            index = place.index if place is not None else lowest(taken | kept)
            taken.add(index)
            found.append(Start(index, revision))
    return found, waits


def _vacancy_for(revision: int, free: Collection[Vacancy]) -> Vacancy | None:
    """The index to use again: one that the same revision had, else one that need not wait."""
    own = [one for one in free if one.revision == revision]
    return min(own or free, key=lambda one: (one.not_before, one.index), default=None)


def lowest(taken: Collection[int]) -> int:
    """The lowest index that is not taken."""
    return next(index for index in range(len(taken) + 1) if index not in taken)
