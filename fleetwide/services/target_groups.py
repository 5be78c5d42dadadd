"""What to tell a target group of AWS, and what it tells of the copies in it. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fleetwide.models.targets import TargetState
from fleetwide.services.targets import IN, Registration
from fleetwide.services.upstreams import Place


class Told(StrEnum):
    """What AWS says of a target, as far as it matters here."""

    SERVES = "serves"
    WAITS = "waits"
    """Registered, and AWS's own check has not passed: it sends it nothing yet."""
    DRAINING = "draining"


# AWS's words; "unused" is told of one that is registered while the group has no load balancer.
TOLD: Mapping[str, Told] = {
    "healthy": Told.SERVES,
    "unused": Told.SERVES,
    "unavailable": Told.SERVES,
    "initial": Told.WAITS,
    "unhealthy": Told.WAITS,
    "unhealthy.draining": Told.WAITS,
    "draining": Told.DRAINING,
}


@dataclass(frozen=True)
class Health:
    """One target of a group; one that is not registered has none."""

    told: Told
    words: str = ""
    """AWS's own, for people."""


@dataclass
class GroupSteps:
    """What to do with one group now; registrations by their place in what was given."""

    register: list[Place] = field(default_factory=list)
    deregister: list[Place] = field(default_factory=list)
    registered: list[Registration] = field(default_factory=list)
    lost: list[Registration] = field(default_factory=list)
    """Were registered, and somebody else took them out."""
    drained: list[Registration] = field(default_factory=list)
    waiting: list[tuple[Registration, str]] = field(default_factory=list)
    """Are registered with AWS, which does not find them well: its words, where they are news."""


def group_steps(
    registrations: Sequence[Registration],
    health: Mapping[Place, Health],
    over: Collection[str] = (),
) -> GroupSteps:
    """What a group needs; targets that are nobody's copies are left alone.

    ``over`` are the ids of copies that have ended. Another one goes only once somebody else serves,
    as long as somebody else is on the way in: AWS takes a while to find a new target healthy.
    """
    steps = GroupSteps()
    wanted = {_place(one) for one in registrations if one.state in IN}
    for one in registrations:
        if one.state in IN:
            _stand(one, health.get(_place(one)), steps)
    serves = any(_serves(one, health) for one in registrations if one.state in IN)
    for one in registrations:
        if one.state is TargetState.DRAINING:
            held = bool(wanted) and not serves and one.task_id not in over
            _go(one, health.get(_place(one)), steps, stays=_place(one) in wanted, held=held)
    steps.register = sorted(set(steps.register))
    steps.deregister = sorted(set(steps.deregister))
    return steps


def _place(one: Registration) -> Place:
    return one.address, one.port


def _serves(one: Registration, health: Mapping[Place, Health]) -> bool:
    found = health.get(_place(one))
    return found is not None and found.told is Told.SERVES


def _stand(one: Registration, found: Health | None, steps: GroupSteps) -> None:
    """A copy that is in, or shall be."""
    if found is None or found.told is Told.DRAINING:
        steps.register.append(_place(one))
        if one.state is TargetState.REGISTERED:
            steps.lost.append(one)
    elif one.state is TargetState.REGISTERING:
        if found.told is Told.SERVES:
            steps.registered.append(one)
        elif one.error != found.words:
            steps.waiting.append((one, found.words))


def _go(
    one: Registration, found: Health | None, steps: GroupSteps, *, stays: bool, held: bool
) -> None:
    """A copy that leaves; ``stays`` when another one has its place by now."""
    if found is None or stays:
        steps.drained.append(one)
    elif found.told is not Told.DRAINING and not held:
        steps.deregister.append(_place(one))
