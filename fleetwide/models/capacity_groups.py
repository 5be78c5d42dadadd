"""Capacity groups: parts of the fleet that people may count on, and what is lent of them."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from fleetwide.models.base import Bytes, Record, Spec, Timestamp
from fleetwide.models.texts import Line, Prose

DEFAULT_GROUP = "default"
"""The group of all that names none. It is always there; what it guarantees is up to you."""
DEFAULT_PRIORITY = 50
MAX_PRIORITY = 100
MAX_WEIGHT = 1000.0
MOST_CPU = 10_000_000.0
MOST_BYTES = 2**60
MOST_COUNT = 1_000_000_000

Priority = Annotated[int, Field(ge=0, le=MAX_PRIORITY)]


class Tier(StrEnum):
    """Which groups come first: nothing of Flex is served while something of Critical fits."""

    CRITICAL = "Critical"
    FLEX = "Flex"


class GroupAmounts(Spec):
    """An amount of each resource of the fleet; one that is not named has no bound."""

    cpu: Annotated[float, Field(ge=0, le=MOST_CPU)] | None = None
    memory: Annotated[Bytes, Field(ge=0, le=MOST_BYTES, examples=["512GiB"])] | None = None
    disk: Annotated[Bytes, Field(ge=0, le=MOST_BYTES, examples=["10TB"])] | None = None
    network: Annotated[int, Field(ge=0, le=MOST_COUNT)] | None = None
    """Mbit/s."""
    gpus: Annotated[int, Field(ge=0, le=MOST_COUNT)] | None = None


class CapacityGroupSpec(Spec):
    """What a group may count on, and what it may take."""

    tier: Tier = Tier.FLEX
    guarantee: GroupAmounts = GroupAmounts()
    """Lent to others while it is idle, taken back by preemption. What is not named is not
    guaranteed, and does not matter to what is."""
    cap: GroupAmounts = GroupAmounts()
    """Never more than this, also when the fleet is idle."""
    weight: Annotated[float, Field(gt=0, le=MAX_WEIGHT)] = 1.0
    """Its part of what is beyond all guarantees, beside groups of its tier."""
    owner: Line = Field(default="", max_length=200)
    """Who answers for it: a team or an e-mail address."""

    @model_validator(mode="after")
    def _the_guarantee_is_below_the_cap(self) -> Self:
        for name in GroupAmounts.model_fields:
            guarantee, cap = getattr(self.guarantee, name), getattr(self.cap, name)
            if guarantee is not None and cap is not None and guarantee > cap:
                raise ValueError(
                    f"guarantee.{name} is {guarantee}, above cap.{name}, which is {cap}"
                )
        return self


class CapacityGroupChange(CapacityGroupSpec):
    """What a group shall be from now on: all of it, and who wants it so."""

    revision: Annotated[int, Field(ge=0)] | None = None
    """The revision that it must have now, 0 for one that must not be there; unset, any."""
    by: Line = Field(default="", max_length=200)
    reason: Prose = Field(min_length=1, max_length=500)
    """Kept with the group; shown to everyone who looks at it."""


class CapacityGroupDocument(Record):
    """A group, what it uses now, and what is lent of it."""

    name: str
    tier: Tier
    weight: float
    owner: str = ""
    revision: int
    by: str = ""
    reason: str = ""
    guarantee: GroupAmounts
    cap: GroupAmounts
    used: GroupAmounts
    """What its attempts hold of hosts."""
    lent: GroupAmounts
    """The part of its guarantee that it does not use, and that is not free: others have it."""
    borrowed: GroupAmounts
    """What it uses beyond its guarantee."""
    running: int = 0
    """Attempts that have a host."""
    waiting: int = 0
    """Attempts that wait for one."""
    leaving: int = 0
    """Of those that have a host: those that were told that their place is taken back."""
    warnings: list[str] = []
    created_at: Timestamp
    updated_at: Timestamp
    links: dict[str, str] = {}
