"""What can be said of a shape and a fleet before anything is placed.

Constraints are judged once per class of hosts (``Traits``), not once per host.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fleetwide.containers.placement.amounts import Dimension
from fleetwide.containers.placement.blockers import TOO_SMALL, Blocker
from fleetwide.containers.placement.fleet import (
    TAKES_WORK,
    Fleet,
    Host,
    Lifecycle,
    Real,
    Traits,
    Whole,
)
from fleetwide.containers.placement.requests import Shape, Wishes
from fleetwide.models.placement import Fit

# What makes a host better than another, in parts of one; being avoided outweighs all of them.
STANDING_WEIGHT = 0.35
IMAGE_WEIGHT = 0.15
FIT_WEIGHT = 0.3
SOFT_WEIGHT = 0.2
AVOID_WEIGHT = 4.0

# What a task leaves on its host for others to look at: ("job", name), ("port", "80") and so on.
Mark = tuple[str, str]
ALONE: Mark = ("alone", "")


@dataclass(frozen=True)
class Facts:
    """A shape against a fleet. ``codes`` has a ``Blocker`` per host, ``base`` a score."""

    shape: Shape
    need: tuple[int, ...]
    column: Whole
    """``need`` as a column, for many hosts."""
    row: Whole
    """``need`` for one host."""
    codes: npt.NDArray[np.int8]
    base: Real
    """The part of the score that no placement changes; minus infinity where a code stands."""
    zones: tuple[str, ...]
    """Zones that have a host for it, full or not."""
    size: float
    """Its largest part of an average host."""
    soft_step: float
    """What one soft wish is worth."""


@dataclass(frozen=True, eq=False)
class Kind:
    """Requests that are equal to the engine: one shape, and one job where that matters."""

    facts: Facts
    job: str
    holds: tuple[Mark, ...]
    """Marks that each of its tasks leaves."""
    repelled: tuple[tuple[Mark, Blocker], ...]
    """Marks that keep it off a host."""
    disliked: tuple[tuple[Mark, ...], ...]
    """For each soft wish about other tasks, the marks of which one is enough to deny it."""

    @property
    def shape(self) -> Shape:
        return self.facts.shape

    @cached_property
    def alone(self) -> bool:
        """Whether it wants an empty host."""
        return self.shape.hard.exclusive_host

    @cached_property
    def choosy(self) -> bool:
        """Whether tasks on a host can make it less welcome."""
        return bool(self.disliked) or self.shape.soft.exclusive_host

    @cached_property
    def looks_at(self) -> tuple[Mark, ...]:
        """All marks that make a difference to it."""
        repelling = (mark for mark, _ in self.repelled)
        return (*repelling, *(mark for marks in self.disliked for mark in marks))

    @cached_property
    def packs(self) -> bool:
        return self.shape.fit is Fit.PACK

    @cached_property
    def once(self) -> bool:
        """Whether a host takes one of it at the most."""
        hard = self.shape.hard
        own = bool(self.job) and (hard.unique_host or self.job in hard.not_with_jobs)
        return own or self.alone or bool(self.shape.ports)

    @cached_property
    def settled(self) -> bool:
        """Whether a host that is the best one stays that until it takes no more."""
        return self.once or (self.packs and not self.choosy)

    @cached_property
    def balanced(self) -> bool:
        """Whether the zones of its job's tasks matter."""
        return self.shape.hard.zone_balance or self.shape.soft.zone_balance


def facts_of(fleet: Fleet, shape: Shape) -> Facts:
    """Judge a shape against every class of hosts."""
    need = shape.amounts.vector
    column = np.array(need, dtype=np.int64).reshape(len(Dimension), 1)
    codes = _codes(fleet, shape, column)
    mean = fleet.total.mean(axis=1) if fleet.size else np.ones(len(Dimension))
    open_hosts = np.flatnonzero(codes == 0).tolist()
    return Facts(
        shape=shape,
        need=need,
        column=column,
        row=column[:, 0],
        codes=codes,
        base=np.where(codes == 0, _base(fleet, shape), -np.inf),
        zones=tuple(sorted({fleet.zone_of[host] for host in open_hosts})),
        size=max(asked / max(float(has), 1.0) for asked, has in zip(need, mean, strict=True)),
        soft_step=SOFT_WEIGHT / max(shape.soft.count, 1),
    )


def marks_of(shape: Shape, job: str) -> tuple[Mark, ...]:
    """What each task of a shape and a job leaves on its host."""
    marks: list[Mark] = [("port", str(port)) for port in sorted(shape.ports)]
    marks += [("against", name) for name in sorted(shape.hard.not_with_jobs)]
    marks += [("job", job)] if job else []
    marks += [ALONE] if shape.hard.exclusive_host else []
    return tuple(marks)


def kind_of(facts: Facts, job: str) -> Kind:
    """The marks that tasks of a shape and a job leave and look at."""
    shape, hard, soft = facts.shape, facts.shape.hard, facts.shape.soft
    ports = [("port", str(port)) for port in sorted(shape.ports)]
    against = sorted(hard.not_with_jobs)
    repelled = [(ALONE, Blocker.HELD_ALONE), *((port, Blocker.PORT_TAKEN) for port in ports)]
    repelled += [(("job", job), Blocker.SAME_JOB)] if hard.unique_host else []
    repelled += [(("job", name), Blocker.OTHER_JOB) for name in against]
    repelled += [(("against", job), Blocker.OTHER_JOB)] if job else []
    disliked: list[tuple[Mark, ...]] = [(("job", job),)] if soft.unique_host else []
    others = tuple(("job", name) for name in sorted(soft.not_with_jobs))
    disliked += [others] if others else []
    return Kind(facts, job, marks_of(shape, job), tuple(repelled), tuple(disliked))


def _codes(fleet: Fleet, shape: Shape, column: Whole) -> npt.NDArray[np.int8]:
    """The first standing reason of each host; 0 where there is none."""
    by_class = [_class_code(traits, shape) for traits in fleet.traits]
    codes = np.array(by_class, dtype=np.int8)[fleet.trait_of] if by_class else _nothing()
    if shape.hard.machine_ids:
        named = {fleet.index[name] for name in shape.hard.machine_ids if name in fleet.index}
        other = np.ones(fleet.size, dtype=bool)
        other[list(named)] = False
        codes[(codes == 0) & other] = Blocker.OTHER_MACHINE
    for dimension in Dimension:
        small = (codes == 0) & (fleet.total[dimension] < column[dimension])
        codes[small] = TOO_SMALL[dimension]
    if shape.any_ports:
        few = np.array([_lacks_ports(host, shape) for host in fleet.hosts], dtype=bool)
        codes[(codes == 0) & few] = Blocker.FEW_PORTS
    codes.setflags(write=False)
    return codes


def _lacks_ports(host: Host, shape: Shape) -> bool:
    """A wish for ports that a tick fills in vain comes back in the next: here it is told."""
    return host.free_ports is not None and host.free_ports < shape.any_ports


def _nothing() -> npt.NDArray[np.int8]:
    return np.zeros(0, dtype=np.int8)


def _class_code(traits: Traits, shape: Shape) -> Blocker:
    if traits.lifecycle not in TAKES_WORK:
        return Blocker.NOT_TAKING_WORK
    if not traits.taints <= shape.tolerations:
        return Blocker.TAINTED
    broken = (code for code, holds in _judged(traits, shape.hard) if not holds)
    return next(broken, Blocker.NONE)


def _judged(traits: Traits, wishes: Wishes) -> Iterator[tuple[Blocker, bool]]:
    """Each wish about a class of hosts that is set, and whether the class grants it."""
    if wishes.active_host:
        yield Blocker.PHASED_OUT, traits.lifecycle is Lifecycle.ACTIVE
    named = (
        (Blocker.OTHER_ZONE, wishes.zones, traits.zone),
        (Blocker.OTHER_MACHINE_GROUP, wishes.machine_groups, traits.machine_group),
        (Blocker.OTHER_MACHINE_TYPE, wishes.machine_types, traits.machine_type),
        (Blocker.OTHER_BACKEND, wishes.backends, traits.backend),
        (Blocker.OTHER_CPU_MODEL, wishes.cpu_models, traits.cpu_model),
    )
    for code, allowed, has in named:
        if allowed:
            yield code, has in allowed
    if wishes.labels:
        yield Blocker.LABEL_MISSING, wishes.labels <= traits.labels
    if wishes.not_labels:
        yield Blocker.LABEL_REFUSED, not wishes.not_labels & traits.labels


def _base(fleet: Fleet, shape: Shape) -> Real:
    """Standing, image and soft wishes, as if no other task were there; less for avoided hosts."""
    score = STANDING_WEIGHT * fleet.standing
    if shape.image:
        holds = [shape.image in host.images for host in fleet.hosts]
        score = score + IMAGE_WEIGHT * np.array(holds, dtype=np.float64)
    if shape.soft.count:
        score = score + SOFT_WEIGHT / shape.soft.count * _granted(fleet, shape.soft)
    avoided = [fleet.index[name] for name in shape.avoid_hosts if name in fleet.index]
    score[sorted(avoided)] -= AVOID_WEIGHT
    return score


def _granted(fleet: Fleet, soft: Wishes) -> Real:
    """How many soft wishes each host grants; those about other tasks count as granted."""
    static = [sum(holds for _, holds in _judged(traits, soft)) for traits in fleet.traits]
    judged = len(list(_judged(fleet.traits[0], soft))) if fleet.traits else 0
    about_tasks = soft.count - judged - bool(soft.machine_ids)
    granted = np.array(static, dtype=np.float64)[fleet.trait_of] + float(about_tasks)
    named = [fleet.index[name] for name in soft.machine_ids if name in fleet.index]
    granted[sorted(named)] += 1.0
    return granted
