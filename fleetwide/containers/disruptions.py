"""What a disruption budget lets the platform do: the arithmetic of the one gate.

The numbers are Titus's. A copy is healthy when it has started, its health provider says so, and
nobody has asked it to leave: one that is being stopped, or whose host is silent, is not.
"""

from math import ceil

from fleetwide.containers.disruption_rates import part
from fleetwide.models.disruptions import (
    DisruptionBudget,
    DisruptionPolicy,
    SelfManaged,
)
from fleetwide.models.disturbances import Cause
from fleetwide.models.health import HealthStatus
from fleetwide.models.task_states import TaskState

SERVICE_NOTICE_SECONDS = 60.0
LEAST_NOTICE_SECONDS = 60.0
RUNTIME_FACTOR = 1.2


def default_budget(
    runtime_limit_seconds: float | None, cause: Cause | None = None
) -> DisruptionBudget:
    """Of a job that names none: the owner's own time, then it is moved.

    For a service a minute; for what ends by itself (it has a runtime limit) so long that it has
    ended by then. Who borrows a place from a group's guarantee gives it back at once: preemptions
    have a notice of their own.
    """
    seconds = SERVICE_NOTICE_SECONDS
    if runtime_limit_seconds is not None:
        seconds = max(LEAST_NOTICE_SECONDS, runtime_limit_seconds * RUNTIME_FACTOR)
    if cause is Cause.PREEMPTION:
        seconds = 0.0
    policy = DisruptionPolicy(self_managed=SelfManaged(relocation_seconds=seconds))
    return DisruptionBudget(policy=policy)


def min_healthy(policy: DisruptionPolicy, desired: int) -> int:
    """So many stay healthy: one may always go when all are, and of a job of one the one."""
    if desired < 2:
        return 0
    if (share := policy.availability_percentage) is not None:
        return min(ceil(part(share.percent, desired)), desired - 1)
    if (limit := policy.unhealthy_limit) is not None:
        return max(0, desired - max(1, limit.copies))
    return 0


def quota(policy: DisruptionPolicy, desired: int, healthy: int) -> int:
    """So many healthy ones may go now; a job smaller than two always lets go of one."""
    if desired < 2:
        return 1
    return max(0, healthy - min_healthy(policy, desired))


def is_healthy(state: str, status: str | None, *, checked: bool) -> bool:
    """Whether an attempt counts as healthy, unless somebody has asked it to leave.

    ``checked`` says that it has a health check and the budget goes by it: then it is not healthy
    before the check has said so.
    """
    return state == TaskState.STARTED and (not checked or status == HealthStatus.HEALTHY)
