"""Host pools: machines that come and go with the work, and what becomes of each."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from fleetwide.models.bakery import BASE_PATTERN
from fleetwide.models.base import Cpu, Memory, Name, Record, Spec, Timestamp
from fleetwide.models.baseos import Region
from fleetwide.models.disturbances import Cause
from fleetwide.models.hosts import HostState
from fleetwide.models.texts import Line, Prose

MAX_MACHINES = 5000
MAX_TYPES = 20
MAX_LABELS = 256
MAX_AGE_SECONDS = 10 * 365 * 86_400
POOL_LABEL = "pool"
"""The label by which a host says which pool it belongs to."""
POOL_TAG = "fleetwide:pool"
LABELS_TAG = "fleetwide:labels"
"""By these tags an instance finds its pool and the pool's labels: ``name=value``, with commas."""

AmiId = r"ami-[0-9a-f]{8,17}"
PoolSize = Annotated[int, Field(ge=0, le=MAX_MACHINES)]


def label_text(labels: Mapping[str, str]) -> str:
    """Labels as one text: ``name=value``, with commas."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


class PoolProvider(StrEnum):
    """Where a pool's machines come from."""

    EC2 = "ec2"
    LOCAL = "local"
    """Hosts on the control worker's own machine, each with a Docker daemon of its own."""


class HostType(Spec):
    """One kind of machine that a pool may start."""

    name: Line = Field(max_length=64, examples=["m6i.xlarge"])
    """The EC2 instance type; for the local provider any word."""
    cpu: Cpu | None = None
    memory: Memory | None = None
    """What such a machine offers; unset, what EC2 says of it, less the usual reserve."""
    price: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """On any scale; among types that help equally the cheapest is started."""


class Ec2Launch(Spec):
    """How EC2 starts the machines of a pool."""

    region: Region
    subnets: Annotated[
        list[Annotated[str, Field(pattern=r"^subnet-[0-9a-f]{8,17}$")]],
        Field(min_length=1, max_length=16),
    ]
    """Taken in turn, so that the machines are spread over their zones."""
    security_groups: Annotated[
        list[Annotated[str, Field(pattern=r"^sg-[0-9a-f]{8,17}$")]], Field(max_length=16)
    ] = []
    instance_profile: Line = Field(default="", max_length=128)
    """The role of the machines; they need none of the platform's own rights."""
    image: Annotated[str, Field(pattern=rf"^({AmiId}|[a-z0-9][a-z0-9._-]{{0,62}})$")]
    """An AMI, or the name of a baked image that has one in the region."""
    base: Annotated[str, Field(pattern=BASE_PATTERN)] = "baseos:stable"
    """Of a baked image the newest that is made on this OS release is taken."""
    spot: bool = False


class HostRotation(Spec):
    """A refresh that begins by itself: hosts that are due are replaced, emptied and ended."""

    max_age_seconds: Annotated[int, Field(ge=600, le=MAX_AGE_SECONDS)] | None = None
    """A host that is older is due; unset, none is for its age."""
    old_images: bool = True
    """Whether a host of an older image than new ones are started from is due."""
    max_rotating: Annotated[int, Field(ge=1, le=100)] = 1
    """So many are replaced at a time."""

    @model_validator(mode="after")
    def _rotates(self) -> Self:
        if self.max_age_seconds is None and not self.old_images:
            raise ValueError("needs max_age_seconds, or old_images: true")
        return self


class HostPoolSpec(Spec):
    """Input of the ``HostPool`` workflow: machines of one kind of use, between two numbers."""

    name: Name
    provider: PoolProvider = PoolProvider.EC2
    min: PoolSize = 0
    desired: PoolSize = 0
    max: PoolSize = 10
    types: Annotated[list[HostType], Field(min_length=1, max_length=MAX_TYPES)]
    ec2: Ec2Launch | None = None
    labels: dict[Line, Line] = {}
    """Further labels of its hosts, beside ``pool``; known before the first machine is there."""
    scale: bool = True
    """Start machines for work that no host has room for, and empty those that are not needed."""
    empty_after_seconds: Annotated[int, Field(ge=10, le=86_400)] = 600
    """A machine goes when nothing waited for so long and its tasks have room elsewhere."""
    register_within_seconds: Annotated[int, Field(ge=10, le=86_400)] = 600
    """A machine that has not joined the fleet by then is replaced."""
    rotation: HostRotation | None = None
    """Replace hosts that are old, or of an old image; unset, only ``refresh`` does."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.min <= self.desired <= self.max:
            raise ValueError(
                f"desired is {self.desired}; it must be from min ({self.min}) to max ({self.max})"
            )
        if (self.provider is PoolProvider.EC2) != (self.ec2 is not None):
            raise ValueError("ec2 must be given for the provider ec2, and for no other")
        if len(label_text(self.labels)) > MAX_LABELS or any(
            sign in word for word in (*self.labels, *self.labels.values()) for sign in ",="
        ):
            raise ValueError(
                f"labels: they travel in one tag: no '=' or ',', {MAX_LABELS} characters in all"
            )
        if len({one.name for one in self.types}) < len(self.types):
            raise ValueError("types: each name may be there once")
        if self.provider is PoolProvider.LOCAL:
            for one in self.types:
                if one.cpu is None or one.memory is None:
                    raise ValueError(f"types: {one.name} needs cpu and memory on provider local")
        return self


class MachineState(StrEnum):
    """What the provider says of a machine."""

    PENDING = "pending"
    RUNNING = "running"
    ENDING = "ending"
    GONE = "gone"
    """It was there, and the provider has it no more."""


class PoolEnd(StrEnum):
    """Why a machine leaves its pool, or never served in it."""

    DRAINED = "drained"
    NEVER_REGISTERED = "neverRegistered"
    HOST_LOST = "hostLost"
    HOST_REMOVED = "hostRemoved"
    SURPLUS = "surplus"
    POOL_DELETED = "poolDeleted"
    VANISHED = "vanished"
    """The provider has it no more, and nobody here ended it: a spot interruption, a person."""


# Total over PoolEnd (a test asserts it): what people read.
END_SENTENCE: dict[PoolEnd, str] = {
    PoolEnd.DRAINED: "its tasks have left, and it was to go",
    PoolEnd.NEVER_REGISTERED: "it did not join the fleet in time",
    PoolEnd.HOST_LOST: "its host was given up as lost",
    PoolEnd.HOST_REMOVED: "its host was taken out of the fleet",
    PoolEnd.SURPLUS: "it had not joined the fleet yet, and is not wanted any more",
    PoolEnd.POOL_DELETED: "its pool was deleted",
    PoolEnd.VANISHED: "it is gone, and not by the pool: interrupted, or ended by somebody",
}


class Machine(Record):
    """A machine as its provider knows it; its id is its host's id, too."""

    id: str
    type: str
    state: MachineState
    image: str = ""
    zone: str = ""
    launched_at: Timestamp


class PoolMachine(Record):
    """A machine together with its host."""

    machine: Machine
    host_state: HostState | None = None
    """None until it joined the fleet."""
    tasks: int = 0
    draining: bool = False
    """Whether the pool has asked it to be emptied."""
    hurried: bool = False
    """And soon, whatever budgets say."""


class PoolStepKind(StrEnum):
    """What a pool does next."""

    RESIZE = "resize"
    LAUNCH = "launch"
    DRAIN = "drain"
    TERMINATE = "terminate"


class PoolStep(Record):
    """One thing to do, and why."""

    kind: PoolStepKind
    sentence: str
    machines: list[str] = []
    """Which ones are drained or terminated."""
    end: PoolEnd | None = None
    """Of a termination."""
    type: str = ""
    count: int = 0
    """How many are launched; of ``resize`` the number that is desired from now on."""
    hurry: bool = False
    """Of a drain: budgets hold it up for some minutes at the most, not for days."""
    cause: Cause = Cause.DRAIN
    """Of a drain."""


class PoolTurn(Record):
    """Input of ``pools.next_steps``: what is wanted of the pool now."""

    spec: HostPoolSpec
    refreshing: bool = False
    deleting: bool = False
    short: list[str] = []
    """Types that the provider had none left of, a moment ago."""
    workflow_id: str
    run_id: str


class PoolSteps(Record):
    """What to do now; empty when nothing was for some minutes."""

    steps: list[PoolStep] = []
    image: str = ""
    """What machines are started from."""
    machines: int = 0
    refreshed: bool = False
    """No machine is left that a refresh is for."""


class PoolLaunch(Record):
    """Input of ``pools.launch``. The same token never starts machines twice."""

    spec: HostPoolSpec
    type: str
    count: int
    image: str = ""
    token: str


class PoolTermination(Record):
    """Input of ``pools.terminate``."""

    spec: HostPoolSpec
    machines: list[str]
    end: PoolEnd


class PoolDrain(Record):
    """Input of ``pools.drain``."""

    pool: str
    machines: list[str]
    reason: str
    hurry: bool = False
    """Force it after some minutes, not after days."""
    cause: Cause = Cause.DRAIN


class PoolScale(Spec):
    """Argument of the ``scale`` update; what is not given stays."""

    min: PoolSize | None = None
    desired: PoolSize | None = None
    max: PoolSize | None = None
    by: Line = Field(default="", max_length=200)
    reason: Prose = Field(min_length=1, max_length=500)


class PoolMove(Spec):
    """Argument of the ``refresh`` and ``delete`` updates."""

    by: Line = Field(default="", max_length=200)
    reason: Prose = Field(min_length=1, max_length=500)


class PoolStatus(Record):
    """Answer of the ``status`` query of ``HostPool``."""

    name: str
    min: int
    desired: int
    max: int
    machines: int = 0
    refreshing: bool = False
    deleting: bool = False
    message: str = ""
    """What was done last, or what keeps it from being done."""
