"""Capacity groups in numbers: what is lent and borrowed, and what the fleet cannot hold."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleetwide.containers.placement import UNCOUNTED, CapacityGroup, Dimension, Tier
from fleetwide.containers.placement.amounts import SCALE, UNIT
from fleetwide.models.capacity_groups import CapacityGroupSpec, GroupAmounts
from fleetwide.models.capacity_groups import Tier as NamedTier

# Total over Dimension, as the next one (a test asserts it).
FIELD: dict[Dimension, str] = {
    Dimension.CPU: "cpu",
    Dimension.MEMORY: "memory",
    Dimension.DISK: "disk",
    Dimension.NETWORK: "network",
    Dimension.GPU: "gpus",
}
TIER: dict[NamedTier, Tier] = {NamedTier.CRITICAL: Tier.CRITICAL, NamedTier.FLEX: Tier.FLEX}
Vector = tuple[int, ...]


def bounds_of(amounts: GroupAmounts) -> dict[Dimension, int]:
    """The resources that are named, in the engine's units."""
    given = {each: getattr(amounts, name) for each, name in FIELD.items()}
    cpu = given[Dimension.CPU]
    named = {each: int(amount) for each, amount in given.items() if amount is not None}
    return named if cpu is None else named | {Dimension.CPU: round(cpu * 1000)}


def amounts_of(vector: Mapping[Dimension, int]) -> GroupAmounts:
    """The same for people."""
    told: dict[str, float | int] = {FIELD[each]: amount for each, amount in vector.items()}
    if Dimension.CPU in vector:
        told["cpu"] = vector[Dimension.CPU] / SCALE[Dimension.CPU]
    return GroupAmounts.model_validate(told)


def group_of(name: str, spec: CapacityGroupSpec) -> CapacityGroup:
    """The group as the engine reads it, without what it uses."""
    return CapacityGroup(
        name=name,
        tier=TIER[spec.tier],
        guarantee=bounds_of(spec.guarantee),
        weight=spec.weight,
        cap=bounds_of(spec.cap),
    )


@dataclass(frozen=True)
class Loan:
    """What a group has of others, and others of it."""

    borrowed: Mapping[Dimension, int]
    """What it uses beyond its guarantee."""
    lent: Mapping[Dimension, int]
    """Its part of what is guaranteed and idle, and yet not free."""


def loans(
    groups: Iterable[CapacityGroup], used: Mapping[str, Vector], free: Vector
) -> dict[str, Loan]:
    """By name of the group. ``free`` is what all hosts that take work have free together."""
    known = list(groups)
    nothing: Vector = (0,) * len(Dimension)
    idle = {
        group.name: {
            each: max(most - used.get(group.name, nothing)[each], 0)
            for each, most in group.guarantee.items()
        }
        for group in known
    }
    missing = {
        each: max(sum(own.get(each, 0) for own in idle.values()) - max(free[each], 0), 0)
        for each in Dimension
    }
    return {
        group.name: Loan(
            {
                each: max(used.get(group.name, nothing)[each] - most, 0)
                for each, most in group.guarantee.items()
            },
            {each: _part(idle, group.name, each, missing[each]) for each in group.guarantee},
        )
        for group in known
    }


def _part(
    idle: Mapping[str, Mapping[Dimension, int]], name: str, each: Dimension, missing: int
) -> int:
    whole = sum(own.get(each, 0) for own in idle.values())
    return missing * idle[name][each] // whole if whole else 0


def warnings(groups: Iterable[CapacityGroup], whole: Vector) -> list[str]:
    """What is guaranteed in all, and the fleet does not have; ``whole`` is all of its hosts."""
    told = []
    guaranteed = [group.guarantee for group in groups]
    for each in Dimension:
        promised = sum(guarantee.get(each, 0) for guarantee in guaranteed)
        if promised > whole[each] and whole[each] < UNCOUNTED:
            told.append(
                f"{promised / SCALE[each]:g} {UNIT[each]} are guaranteed in all, and the hosts "
                f"that take work have {whole[each] / SCALE[each]:g}"
            )
    return told
