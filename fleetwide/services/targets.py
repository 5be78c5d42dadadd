"""Which copies of a service shall be registered at its load balancers, and which shall leave. Pure.

- A healthy copy is registered at every target whose port it has.
- One that ended, is being stopped, or was released by the service leaves every target, whatever is
  left behind; so does one of a target that the service does not name any more.
- One that is not healthy (or whose host is silent) leaves a target only while another one, healthy
  and registered, stays there. So health alone never empties a target: when all copies fail their
  checks at once, the last that was registered stays, as it may still answer. A flapping check is
  therefore never an outage by itself.
- One that left for its health comes back when it is healthy again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fleetwide.models.targets import Target, TargetState

IN = frozenset({TargetState.REGISTERING, TargetState.REGISTERED})
"""States of a copy that a load balancer may send requests to, and shall."""


@dataclass(frozen=True)
class ReachableCopy:
    """A copy that is not over, with where it is reached."""

    task_id: str
    healthy: bool
    """Started, and well as far as is known; not on a silent host, nor of a version that blue/green
    sends no requests to."""
    leaving: bool = False
    """It was released, or is being stopped."""
    address: str = ""
    """Of its host; empty while that has not told it."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Of its host, by name."""


@dataclass(frozen=True)
class Registration:
    """How one copy stands at one target."""

    task_id: str
    target: str
    """``Target.key``."""
    state: TargetState
    address: str
    port: int
    removed: bool = False
    """It gets no new requests, of one that is draining."""
    error: str = ""
    """What keeps it from its state."""


@dataclass(frozen=True)
class Change:
    """What shall become of one copy at one target: ``REGISTERING`` or ``DRAINING``."""

    task_id: str
    target: str
    to: TargetState
    why: str
    """For people: a few words."""
    address: str = ""
    port: int = 0
    """Both where it is to be registered."""


def due(
    targets: Sequence[Target],
    copies: Iterable[ReachableCopy],
    registrations: Sequence[Registration],
) -> list[Change]:
    """What has to change of one service; nothing once all of it was done.

    ``copies`` are those that are not over; ``registrations`` all that are known of the service.
    """
    live = {copy.task_id: copy for copy in copies}
    named = {target.key: target for target in targets}
    changes = list[Change]()
    for key in sorted(named.keys() | {one.target for one in registrations}):
        known = {one.task_id: one for one in registrations if one.target == key}
        changes += _at_one(key, named.get(key), live, known)
    return changes


def _at_one(
    key: str,
    target: Target | None,
    live: Mapping[str, ReachableCopy],
    known: Mapping[str, Registration],
) -> list[Change]:
    """The changes at one target; None for one that the service does not name any more."""
    leave = dict[str, str]()
    unwell = list[str]()
    for task_id, one in known.items():
        why = _must_leave(target, one, live.get(task_id))
        if one.state in IN and why:
            leave[task_id] = why
        elif one.state in IN and not live[task_id].healthy:
            unwell.append(task_id)
    stays = any(
        one.state is TargetState.REGISTERED and task_id not in leave and live[task_id].healthy
        for task_id, one in known.items()
    )
    if stays:
        leave |= dict.fromkeys(unwell, "it is not healthy")
    changes = [Change(task_id, key, TargetState.DRAINING, why) for task_id, why in leave.items()]
    if target is not None:
        changes += [change for copy in live.values() if (change := _joins(target, copy, known))]
    return changes


def _must_leave(target: Target | None, one: Registration, copy: ReachableCopy | None) -> str:
    """Why a copy leaves, whatever stays behind; empty when it need not."""
    if copy is None:
        return "it is over"
    if copy.leaving:
        return "it is about to stop"
    if target is None:
        return "the service does not name the target any more"
    if (copy.address, copy.ports.get(target.port)) != (one.address, one.port):
        return "it is reached elsewhere now"
    return ""


def _joins(target: Target, copy: ReachableCopy, known: Mapping[str, Registration]) -> Change | None:
    port = copy.ports.get(target.port)
    if not copy.healthy or copy.leaving or not copy.address or port is None:
        return None
    one = known.get(copy.task_id)
    if one is not None and one.state in IN:
        return None
    moved = one is not None and (one.address, one.port) != (copy.address, port)
    if moved and one is not None and one.state is TargetState.DRAINING:
        return None  # the old place has to be left first: the row tells but one
    return Change(
        copy.task_id, target.key, TargetState.REGISTERING, "it is healthy", copy.address, port
    )
