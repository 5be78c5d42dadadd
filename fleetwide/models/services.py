"""Services: what people ask for, its versions, and what the platform tells of it."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from fleetwide.models.base import Name, Spec
from fleetwide.models.capacity_groups import DEFAULT_GROUP, DEFAULT_PRIORITY, Priority
from fleetwide.models.containers import ContainerSpec
from fleetwide.models.disruptions import ServiceDisruptionBudget
from fleetwide.models.labels import Labels
from fleetwide.models.scaling import ScalingPolicies
from fleetwide.models.targets import Targets, check_ports
from fleetwide.models.texts import Line

MAX_COPIES = 2500
Count = Annotated[int, Field(ge=0, le=MAX_COPIES)]
Percent = Annotated[float, Field(ge=0, le=100)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]


class Capacity(Spec):
    """How many copies there shall be; automatic scaling stays between ``min`` and ``max``."""

    min: Count = 0
    desired: Count = 1
    max: Count = MAX_COPIES

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.min <= self.desired <= self.max:
            raise ValueError(
                f"needs min <= desired <= max, not {self.min} <= {self.desired} <= {self.max}"
            )
        return self


class Processes(Spec):
    """What nobody, a person or the platform, may do to ``desired`` until it is allowed again."""

    disable_increase_desired: bool = False
    disable_decrease_desired: bool = False


class Strategy(StrEnum):
    """How a new version takes the place of the one that runs."""

    ROLLING = "rolling"
    CANARY = "canary"
    BLUE_GREEN = "blueGreen"


class CanaryStep(Spec):
    """A share of the copies that runs the new version for a while, and is judged."""

    percent: Annotated[float, Field(gt=0, le=100)]
    hold_seconds: Seconds = 60.0


class Judgement(Spec):
    """When a canary is as good as what runs: by ends and unhealthy copies, per copy."""

    tolerated_ratio: Annotated[float, Field(ge=1, le=100)] = 1.5
    """The new version may have so many times the old one's events per copy."""
    tolerated_events: Annotated[int, Field(ge=0, le=MAX_COPIES)] = 0
    """So many events of the new version in one step are let pass whatever the old one has."""


class DeployPolicy(Spec):
    """How versions follow each other, and when one is given up."""

    strategy: Strategy = Strategy.ROLLING
    max_surge_percent: Percent = 25.0
    """Copies beyond ``desired`` while versions change; at least one if this is not 0."""
    max_unavailable_percent: Percent = 0.0
    """Copies that may be missing of ``desired`` meanwhile; rounded down."""
    healthy_seconds: Seconds = 10.0
    """A copy counts when it has been healthy for so long."""
    progress_deadline_seconds: Annotated[float, Field(ge=5, le=86_400)] = 600.0
    """A deploy in which no further copy got healthy for so long has failed."""
    max_failed_copies: Annotated[int, Field(ge=1, le=MAX_COPIES)] = 3
    """So many ends of copies of the new version and it has failed."""
    auto_rollback: bool = True
    """A failed deploy goes back to the last good version by itself; else it stops where it is."""
    canary: Annotated[list[CanaryStep], Field(max_length=20)] = []
    judgement: Judgement = Judgement()
    """How each step of a canary is judged."""
    keep_old_seconds: Seconds = 300.0
    """Blue/green keeps the old copies for so long after the switch: a way back at once."""
    auto_promote: bool = True
    """After the last step of a canary, or when all of blue/green are healthy; else it waits."""

    @model_validator(mode="after")
    def _can_move(self) -> Self:
        if self.max_surge_percent == 0 and self.max_unavailable_percent == 0:
            raise ValueError(
                "max_surge_percent and max_unavailable_percent are both 0: no copy "
                "could ever be replaced; set one of them"
            )
        if (self.strategy is Strategy.CANARY) != bool(self.canary):
            raise ValueError("canary lists the steps of the strategy canary, and of no other")
        shares = [step.percent for step in self.canary]
        if shares != sorted(set(shares)):
            raise ValueError("canary: each step has a larger percent than the one before")
        return self


class ContainerServiceSpec(Spec):
    """Input of the ``ContainerService`` workflow: N copies of one container, kept healthy."""

    app: Name
    """The application that the service belongs to."""
    owner: Line = Field(default="", max_length=200)
    """Who answers for it: a team or an e-mail address."""
    labels: Labels = {}
    capacity_group: Name = DEFAULT_GROUP
    """The part of the fleet that its copies count to: see ``fleetwide capacity-group list``."""
    priority: Priority = DEFAULT_PRIORITY
    """Within their capacity group the higher one gets a host first; 0 to 100."""
    capacity: Capacity = Capacity()
    container: ContainerSpec
    """What each copy runs; ``health`` says when one is ready. It has no runtime limit."""
    enabled: bool = True
    """Without it nothing scales the service by itself."""
    processes: Processes = Processes()
    replace_while_disconnected: bool = True
    """Replace a copy as soon as its host is silent, without waiting until it surely runs no more:
    if the host comes back both run for a moment. Not while many hosts are silent together."""
    deploy: DeployPolicy = DeployPolicy()
    disruption_budget: ServiceDisruptionBudget | None = None
    """What moving copies for the platform's own reasons may cost; unset, a minute's notice."""
    targets: Targets = []
    """Load balancers that send requests to the healthy copies; a change of them is no deploy."""
    autoscaling: ScalingPolicies = []
    """Policies by which ``capacity.desired`` follows the load; a change of them is no deploy."""

    @model_validator(mode="after")
    def _targets_have_ports(self) -> Self:
        check_ports(self.targets, self.container.resources.ports)
        self.container.disconnect.check_reconcile()
        return self
