"""What a pool of hosts does next: pure decisions over its machines, its hosts and waiting work."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fleetwide.containers.pool_rotation import Replacing, replacing
from fleetwide.models.disturbances import Cause
from fleetwide.models.hosts import TAKES_WORK, HostState
from fleetwide.models.pools import (
    HostPoolSpec,
    HostType,
    MachineState,
    PoolEnd,
    PoolMachine,
    PoolStep,
    PoolStepKind,
)

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=15)
# What is on a lost host may be allowed to go on there for longer than the host is waited for.
_WITHOUT_TASKS = frozenset({HostState.REMOVABLE, HostState.LOST})
_ALIVE = frozenset({MachineState.PENDING, MachineState.RUNNING})
# Its host says by itself that the machine has no more use.
_ENDS: dict[HostState, PoolEnd] = {
    HostState.REMOVABLE: PoolEnd.DRAINED,
    HostState.LOST: PoolEnd.HOST_LOST,
    HostState.REMOVED: PoolEnd.HOST_REMOVED,
}


@dataclass(frozen=True)
class PoolView:
    """A pool at one moment."""

    spec: HostPoolSpec
    """With the size that is wanted now."""
    machines: tuple[PoolMachine, ...]
    now: datetime
    wanted: Mapping[str, int] = field(default_factory=dict)
    """New machines of each type that waiting work needs."""
    empties: tuple[str, ...] = ()
    """Machines whose tasks would all find room elsewhere, the cheapest to empty first."""
    quiet_since: datetime | None = None
    """Since when no work has waited for a host; None while some does."""
    image: str = ""
    """What new machines are started from."""
    refreshing: bool = False
    deleting: bool = False
    short: frozenset[str] = frozenset()
    """Types that the provider had none left of, a moment ago."""
    failures: int = 0
    """Machines in a row that never joined the fleet."""
    failed_at: datetime | None = None


def next_steps(view: PoolView) -> list[PoolStep]:
    """What to do now, in this order: end what is of no use, then grow, shrink or refresh.

    Never desires less than ``min`` or more than ``max``, drains one machine at a time unless the
    size was set by hand, and starts none while the last ones never joined the fleet, for a while.
    """
    ending = _ending(view)
    gone = {machine for step in ending for machine in step.machines}
    serving = [one for one in view.machines if _serves(one) and one.machine.id not in gone]
    if view.deleting:
        return [
            *ending,
            *_leave(_unhurried(view, gone), "the pool is deleted", PoolEnd.POOL_DELETED),
        ]
    grown = _grown(view, serving)
    if grown is not None:
        return [*ending, grown]
    lacks = _target(view, serving) - len(serving)
    if lacks > 0:
        failed = any(step.end is PoolEnd.NEVER_REGISTERED for step in ending)
        return ending if failed else [*ending, *_launches(view, lacks)]
    if lacks < 0:
        return [*ending, *_surplus(view, serving, -lacks)]
    return [*ending, *_shrunk(view, serving), *_replaced(view, serving)]


def offered(spec: HostPoolSpec, short: Collection[str]) -> list[HostType]:
    """The types that are worth a try: all of them when the provider had none left of any."""
    return [one for one in spec.types if one.name not in short] or list(spec.types)


def missing(view: PoolView) -> bool:
    """Whether fewer machines serve than are desired."""
    serving = sum(_serves(one) and one.host_state is not None for one in view.machines)
    return not view.deleting and serving < view.spec.desired


def pause_left(view: PoolView) -> timedelta:
    """How long no machine is started yet, as the last ones never joined the fleet."""
    if not view.failures or view.failed_at is None:
        return timedelta()
    doubled: int = 2 ** min(view.failures - 1, 10)
    pause = min(FIRST_PAUSE * doubled, LONGEST_PAUSE)
    return max(view.failed_at + pause - view.now, timedelta())


def can_start(view: PoolView) -> bool:
    """Whether a machine could be started now, if one more were wanted."""
    imageless = view.spec.ec2 is not None and not view.image
    some_left = any(one.name not in view.short for one in view.spec.types)
    return some_left and not imageless and pause_left(view) == timedelta()


def to_replace(view: PoolView) -> Replacing:
    """Which machines a refresh or the pool's rotation is for."""
    return replacing(
        view.spec,
        view.machines,
        image=view.image,
        now=view.now,
        refreshing=view.refreshing,
    )


def next_to_replace(view: PoolView) -> dict[str, list[str]]:
    """Machines that are replaced once those before them are: by the reason."""
    due, found = to_replace(view), dict[str, list[str]]()
    serving = [one for one in view.machines if _serves(one) and _joined(one)]
    for one in [] if view.deleting else due.first(serving, due.most):
        found.setdefault(due.due[one.machine.id], []).append(one.machine.id)
    return found


def _serves(one: PoolMachine) -> bool:
    return _stays(one) and not one.draining


def _stays(one: PoolMachine) -> bool:
    return one.machine.state in _ALIVE and one.host_state is not HostState.LOST


def _unhurried(view: PoolView, gone: Collection[str]) -> list[PoolMachine]:
    """What a deletion has to hurry: also machines that are being emptied already, with time."""
    return [
        one
        for one in view.machines
        if _stays(one) and not one.hurried and one.machine.id not in gone
    ]


def _ending(view: PoolView) -> list[PoolStep]:
    """Machines that are of no use any more, by the reason."""
    found: dict[PoolEnd, list[str]] = {}
    for one in view.machines:
        end = _end_of(one, view)
        if end is not None:
            found.setdefault(end, []).append(one.machine.id)
    return [_terminate(machines, end) for end, machines in found.items()]


def _end_of(one: PoolMachine, view: PoolView) -> PoolEnd | None:
    if one.machine.state is MachineState.ENDING:
        return None
    if one.machine.state is MachineState.GONE:
        return PoolEnd.VANISHED
    if one.host_state is None:
        limit = timedelta(seconds=view.spec.register_within_seconds)
        late = view.now - one.machine.launched_at > limit
        return PoolEnd.NEVER_REGISTERED if late else None
    if one.host_state in _WITHOUT_TASKS and one.tasks:
        return None
    return _ENDS.get(one.host_state)


def _grown(view: PoolView, serving: list[PoolMachine]) -> PoolStep | None:
    """More machines for work that no host has room for; those on their way count."""
    if not view.spec.scale or not view.wanted:
        return None
    joined = sum(_joined(one) for one in serving)
    desired = min(view.spec.max, max(view.spec.desired, joined + sum(view.wanted.values())))
    if desired <= view.spec.desired:
        return None
    kinds = ", ".join(f"{count} of {name}" for name, count in sorted(view.wanted.items()))
    return _resize(desired, f"waiting work needs {kinds} more")


def _target(view: PoolView, serving: list[PoolMachine]) -> int:
    """How many should serve: more than desired while some are replaced, and there is room."""
    due, desired = to_replace(view), view.spec.desired
    old = due.first(serving, due.most)
    return max(desired, min(desired + len(old), view.spec.max))


def _launches(view: PoolView, lacks: int) -> list[PoolStep]:
    if pause_left(view) > timedelta() or (view.spec.ec2 is not None and not view.image):
        return []
    steps = []
    for name, count in _by_type(view, lacks).items():
        sentence = f"start {count} of {name}: {view.spec.desired} machines are desired"
        steps.append(PoolStep(kind=PoolStepKind.LAUNCH, sentence=sentence, type=name, count=count))
    return steps


def _by_type(view: PoolView, lacks: int) -> dict[str, int]:
    """What waiting work needs, and the cheapest type for the rest."""
    chosen: dict[str, int] = {}
    for name, count in view.wanted.items():
        taken = min(count, lacks - sum(chosen.values()))
        if taken > 0:
            chosen[name] = taken
    rest = lacks - sum(chosen.values())
    if rest:
        cheapest = min(offered(view.spec, view.short), key=lambda one: one.price).name
        chosen[cheapest] = chosen.get(cheapest, 0) + rest
    return chosen


def _surplus(view: PoolView, serving: list[PoolMachine], count: int) -> list[PoolStep]:
    """More machines than are desired: those go that cost the least."""
    stale = to_replace(view).due
    if any(one.machine.id in stale for one in serving) and not all(map(_joined, serving)):
        return []  # the new ones come first
    cheap = {machine: number for number, machine in enumerate(view.empties)}
    order = sorted(
        serving,
        key=lambda one: (
            one.machine.id not in stale,
            _joined(one),
            cheap.get(one.machine.id, len(cheap)),
            one.tasks,
            one.machine.launched_at,
        ),
    )
    why = f"{view.spec.desired} machines are desired"
    return _leave(order[:count], why, PoolEnd.SURPLUS)


def _shrunk(view: PoolView, serving: list[PoolMachine]) -> list[PoolStep]:
    """One machine less, when nothing waited for long and its tasks have room elsewhere."""
    spec, quiet = view.spec, view.quiet_since
    if not spec.scale or quiet is None or len(serving) <= spec.min or to_replace(view).due:
        return []
    if view.now - quiet < timedelta(seconds=spec.empty_after_seconds):
        return []
    ready = {one.machine.id for one in serving if one.host_state in TAKES_WORK}
    chosen = next((machine for machine in view.empties if machine in ready), None)
    if chosen is None or any(one.draining for one in view.machines):
        return []
    why = f"nothing waited for {spec.empty_after_seconds} s, and its tasks have room elsewhere"
    return [_resize(max(spec.min, spec.desired - 1), why), _drain([chosen], why)]


def _replaced(view: PoolView, serving: list[PoolMachine]) -> list[PoolStep]:
    """The next ones of a refresh or rotation: new ones are there for them, or none can be."""
    due, spec = to_replace(view), view.spec
    joined = [one for one in serving if _joined(one)]
    room = due.most - sum(one.draining or not _joined(one) for one in view.machines)
    if spec.desired < spec.max:
        room = min(room, len(joined) - spec.desired)
    return [_replace(one, due.due[one.machine.id]) for one in due.first(joined, room)]


def _replace(one: PoolMachine, why: str) -> PoolStep:
    machine = [one.machine.id]
    return PoolStep(kind=PoolStepKind.DRAIN, sentence=why, machines=machine, cause=Cause.ROTATION)


def _joined(one: PoolMachine) -> bool:
    return one.host_state is not None


def _leave(machines: list[PoolMachine], why: str, end: PoolEnd) -> list[PoolStep]:
    """Drain hosts; end at once what has not joined the fleet."""
    fresh = [one.machine.id for one in machines if not _joined(one)]
    hosts = [one.machine.id for one in machines if _joined(one)]
    steps = [_terminate(fresh, end)] if fresh else []
    hurry = end is PoolEnd.POOL_DELETED
    return [*steps, _drain(hosts, why, hurry=hurry)] if hosts else steps


def _resize(desired: int, why: str) -> PoolStep:
    return PoolStep(kind=PoolStepKind.RESIZE, sentence=why, count=desired)


def _drain(machines: list[str], why: str, *, hurry: bool = False) -> PoolStep:
    return PoolStep(kind=PoolStepKind.DRAIN, sentence=why, machines=machines, hurry=hurry)


def _terminate(machines: list[str], end: PoolEnd) -> PoolStep:
    return PoolStep(
        kind=PoolStepKind.TERMINATE,
        sentence=f"{end}: {', '.join(machines)}"[:300],
        machines=machines,
        end=end,
    )
