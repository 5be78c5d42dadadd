"""What people see of the gate: what is to be moved, and what keeps a task where it is."""

from fleetwide.models.base import Record, Timestamp
from fleetwide.models.disruptions import DisruptionBudget
from fleetwide.models.disturbances import Cause, Refusal


class RelocationDocument(Record):
    """A running attempt that somebody wants away from its host; published before it is moved."""

    attempt_id: int
    workflow_id: str
    service_id: str | None = None
    index: int = 0
    """The child of a batch job."""
    attempt: int
    host_id: str
    cause: Cause
    by: str = ""
    reason: str = ""
    since: Timestamp
    """Its owner was told then."""
    asked_at: Timestamp
    """When the gate was asked for it last."""
    not_before: Timestamp | None = None
    """It stays at least until then; none where no time can be told."""
    refusal: Refusal | None = None
    """What keeps it; none once it was let go."""
    let_go_at: Timestamp | None = None
    """Since then it is being moved."""


class DisruptionDocument(Record):
    """What a running task's budget is, what of it is left, and whether it may be moved now."""

    workflow_id: str
    budget_key: str
    """What counts as one job: the service of a copy, else the task or batch job itself."""
    sentence: str
    """The answer to why it was not moved."""
    budget: DisruptionBudget
    default: bool
    """It named none: this one is that of its kind."""
    desired: int
    healthy: int
    min_healthy: int
    quota: int
    """So many healthy ones may go now, as far as health alone decides."""
    rate_allowed: int | None = None
    """None where the rate is unlimited."""
    rate_used: int = 0
    window_opens_at: Timestamp | None = None
    """In the past or now: it is open; none where there are no windows."""
    relocations: int = 0
    """How often it was moved before."""
    refusal: Refusal | None = None
    """What the gate would answer now; none if it would let it go."""
    plan: RelocationDocument | None = None
    """None while nobody wants it away."""
