"""Whether disruption budgets were kept, by arithmetic of its own on samples of the books.

It shares nothing with the gate but the tables: floors, rates and notices are worked out here from
the promises in ``docs/guides/disruption-budgets.md``.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select as select_columns
from sqlmodel import Session, col

from fleetwide.models.disruptions import DisruptionBudget
from fleetwide.models.hosts import ANSWERS
from fleetwide.models.task_states import TaskState
from fleetwide.store.disruption_tables import DisruptionRow
from fleetwide.store.tables import AttemptRow, EventRow, HostRow, JobRow

Wanted = Mapping[str, tuple[DisruptionBudget, int]]
"""By service: its budget, and how many copies it desires."""


WELL = (None, "healthy")
"""What a check may have said last: without one, a started container is well."""


@dataclass(frozen=True)
class Copy:
    """One live attempt of a service in one sample."""

    service: str
    serves: bool
    """It is started, and nothing says that it is not well."""
    silent: bool
    """Its host does not answer: whatever is missing then, no budget was spent on it."""
    leaving: bool
    """It was let go."""


@dataclass(frozen=True)
class Moved:
    """One attempt that was let go."""

    service: str
    attempt: int
    at: datetime
    planned: datetime | None
    """When its owner was told first."""
    forced: bool = False


@dataclass
class Found:
    """What was seen so far."""

    samples: int = 0
    too_few: dict[str, int] = field(default_factory=dict)
    """Samples in which a service had too few that are well and stay, while some leave."""
    silent: int = 0
    """Samples of a service with copies on silent hosts, which were not judged."""

    def note(self, copies: Sequence[Copy], wanted: Wanted) -> None:
        """Judge one sample."""
        self.samples += 1
        of: dict[str, list[Copy]] = {}
        for copy in copies:
            of.setdefault(copy.service, []).append(copy)
        for service, some in of.items():
            if not any(one.leaving for one in some):
                continue
            if any(one.silent for one in some):
                self.silent += 1
                continue
            budget, desired = wanted[service]
            stay = sum(one.serves and not one.leaving for one in some)
            if stay < floor(budget, desired):
                self.too_few[service] = self.too_few.get(service, 0) + 1


def floor(budget: DisruptionBudget, desired: int) -> int:
    """So many copies have to stay well."""
    policy = budget.policy
    if policy.availability_percentage is not None:
        share = math.ceil(policy.availability_percentage.percent * desired / 100)
        return min(share, desired - 1)
    if policy.unhealthy_limit is not None:
        return desired - max(1, policy.unhealthy_limit.copies)
    return 0


def too_fast(budget: DisruptionBudget, desired: int, moved: Sequence[Moved]) -> int:
    """How many of one service's moves came sooner than its rate allows."""
    rate = budget.rate
    if rate.count_per_interval is not None:
        most, seconds = rate.count_per_interval.count, rate.count_per_interval.seconds
    elif rate.percentage_per_interval is not None:
        share = rate.percentage_per_interval
        most, seconds = max(1, math.floor(share.percent * desired / 100)), share.seconds
    elif rate.percentage_per_hour is not None:
        most = max(1, math.floor(rate.percentage_per_hour.percent * desired / 100))
        seconds = 3600.0
    else:
        return 0
    times = sorted(one.at for one in moved if not one.forced)
    pairs = zip(times, times[int(most) :], strict=False)
    return sum(later - first < timedelta(seconds=seconds) for first, later in pairs)


def too_soon(budget: DisruptionBudget, moved: Sequence[Moved]) -> int:
    """How many left before the time was over that their owner has to move them."""
    policy = budget.policy.self_managed
    if policy is None:
        return 0
    notice = timedelta(seconds=policy.relocation_seconds)
    return sum(one.planned is None or one.at - one.planned < notice for one in moved)


def violations(found: Found, wanted: Wanted, moved: Sequence[Moved]) -> dict[str, int]:
    """All that went beyond a budget, by what of it was broken."""
    of: dict[str, list[Moved]] = {}
    for one in moved:
        of.setdefault(one.service, []).append(one)
    budgets = [(*wanted[service], some) for service, some in of.items()]
    return {
        "tooFewHealthy": sum(found.too_few.values()),
        "tooFast": sum(too_fast(budget, desired, some) for budget, desired, some in budgets),
        "tooSoon": sum(too_soon(budget, some) for budget, _, some in budgets),
    }


def sample(session: Session) -> list[Copy]:
    """The live attempts of all services, as the books have them now."""
    query = (
        select_columns(
            col(JobRow.service_id),
            col(AttemptRow.state),
            col(AttemptRow.health),
            col(HostRow.state),
            col(DisruptionRow.attempt_id),
        )
        .join(JobRow, col(JobRow.id) == col(AttemptRow.job_id))
        .outerjoin(HostRow, col(HostRow.host_id) == col(AttemptRow.host_id))
        .outerjoin(DisruptionRow, col(DisruptionRow.attempt_id) == col(AttemptRow.id))
        .where(
            col(JobRow.service_id).is_not(None),
            col(JobRow.finished_at).is_(None),
            col(AttemptRow.state) != TaskState.FINISHED,
        )
    )
    return [
        Copy(
            service or "",
            serves=state == TaskState.STARTED and (health or {}).get("status") in WELL,
            silent=state == TaskState.DISCONNECTED or (host is not None and host not in ANSWERS),
            leaving=let_go is not None,
        )
        for service, state, health, host, let_go in session.connection().execute(query)
    ]


def moves(session: Session, since: datetime) -> list[Moved]:
    """All that was let go since then, with when each owner was told first."""
    planned: dict[int, datetime] = {}
    told = select_columns(col(EventRow.at), col(EventRow.data)).where(
        col(EventRow.kind) == "relocationPlanned", col(EventRow.at) >= since
    )
    for at, data in session.connection().execute(told.order_by(col(EventRow.at))):
        planned.setdefault(data["attemptId"], at)
    rows = session.connection().execute(
        select_columns(
            col(DisruptionRow.budget_key),
            col(DisruptionRow.attempt_id),
            col(DisruptionRow.granted_at),
            col(DisruptionRow.forced),
        ).where(col(DisruptionRow.granted_at) >= since)
    )
    return [
        Moved(key.removeprefix("service/"), number, at, planned.get(number), forced)
        for key, number, at, forced in rows
        if key.startswith("service/")
    ]
