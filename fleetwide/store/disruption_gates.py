"""What the gate decides from: each job's budget, its live attempts, and what was let go of it.

A job is a task, a batch job, or all copies of a service together. However many attempts are asked
for at a time, it takes the same few queries.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from fleetwide.containers.disruption_gate import JobGate, Member
from fleetwide.containers.disruptions import default_budget, is_healthy
from fleetwide.models.containers import JobKind
from fleetwide.models.disruptions import DisruptionBudget, HealthProvider
from fleetwide.models.disturbances import OF_HOSTS, Cause
from fleetwide.models.retries import Lineage
from fleetwide.store import children, disruption_jobs
from fleetwide.store.among import among
from fleetwide.store.disruption_jobs import Job, Live, Service
from fleetwide.store.disruption_tables import DisruptionRow, RelocationRow
from fleetwide.store.tables import AttemptRow

EXPIRES = timedelta(seconds=120)
"""An attempt that was let go, and neither ends nor is asked for again for so long, stays after
all: whoever asked died before it told anybody, and what it took is given back."""
COUNTS = timedelta(hours=2)
"""Longer than any interval of a rate with its buckets."""
FORGOTTEN = timedelta(minutes=20)
"""A wish that nobody repeats for so long is over. A host that is to be emptied stays so."""


@dataclass(frozen=True)
class Demand:
    """Who wants attempts away, and why; ``most`` of them are let go at a time."""

    cause: Cause
    by: str
    now: datetime
    reason: str = ""
    forced: bool = False
    most: int | None = None


@dataclass(frozen=True)
class Gates:
    """All that asking for some attempts needs."""

    wanted: Mapping[int, Live]
    """Those that were asked for and are live."""
    jobs: Mapping[int, Job]
    let_go: dict[int, DisruptionRow]
    """Live attempts that were let go already."""
    expired: Sequence[DisruptionRow]
    plans: dict[int, RelocationRow]
    """What is known of those that were asked for before; ``announced_at`` says since when."""
    gates: dict[str, JobGate] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    """Budget keys of jobs that name a budget; the others have the default of their kind."""

    def job(self, attempt_id: int) -> Job:
        """The job of an attempt that was asked for."""
        return self.jobs[self.wanted[attempt_id].job_id]

    def gate(self, attempt_id: int) -> JobGate:
        """The gate that it goes through."""
        return self.gates[self.job(attempt_id).key]


def load(
    session: Session, attempt_ids: Collection[int], *, now: datetime, cause: Cause | None = None
) -> Gates:
    """Look at these attempts, and at the jobs that they belong to."""
    numbers = sorted(attempt_ids)
    wanted = disruption_jobs.live(session, among(session, AttemptRow.id, numbers))
    jobs = disruption_jobs.jobs(session, {one.job_id for one in wanted.values()})
    peers = disruption_jobs.live(session, among(session, AttemptRow.job_id, sorted(jobs)))
    rows = _rows(session, {job.key for job in jobs.values()}, now)
    expired = [row for row in rows if _is_expired(row, peers.get(row.attempt_id), now)]
    counted = [row for row in rows if row not in expired]
    found = Gates(
        wanted=wanted,
        jobs=jobs,
        let_go={row.attempt_id: row for row in counted if row.attempt_id in peers},
        expired=expired,
        plans=_plans(session, numbers),
    )
    look = _Look(session, found, now, cause)
    look.build(peers, counted)
    return found


def is_forgotten(plan: RelocationRow, now: datetime) -> bool:
    """Whether nobody wants the attempt away any more."""
    return plan.cause not in OF_HOSTS and plan.asked_at + FORGOTTEN <= now


def _rows(session: Session, keys: Collection[str], now: datetime) -> Sequence[DisruptionRow]:
    query = select(DisruptionRow).where(
        col(DisruptionRow.budget_key).in_(keys), DisruptionRow.asked_at > now - COUNTS
    )
    return session.exec(query).all()


def _is_expired(row: DisruptionRow, one: Live | None, now: datetime) -> bool:
    return one is not None and not one.ends and row.asked_at + EXPIRES <= now


def _plans(session: Session, numbers: Sequence[int]) -> dict[int, RelocationRow]:
    query = select(RelocationRow).where(among(session, RelocationRow.attempt_id, numbers))
    return {row.attempt_id: row for row in session.exec(query)}


@dataclass(frozen=True)
class _Look:
    """What the gates are built with."""

    session: Session
    found: Gates
    now: datetime
    cause: Cause | None

    def build(self, peers: Mapping[int, Live], counted: Sequence[DisruptionRow]) -> None:
        """A gate for each job of ``found``."""
        jobs = self.found.jobs
        names = {job.service_id for job in jobs.values() if job.service_id}
        services = disruption_jobs.services(self.session, names)
        members: dict[str, list[Live]] = defaultdict(list)
        for one in peers.values():
            members[jobs[one.job_id].key].append(one)
        used: dict[str, list[datetime]] = defaultdict(list)
        for row in counted:
            used[row.budget_key].append(row.granted_at)
        for key, lives in members.items():
            service = services.get(jobs[lives[0].job_id].service_id or "")
            self.found.gates[key] = self._gate(lives, service, used[key])

    def _gate(
        self, lives: Sequence[Live], service: Service | None, used: list[datetime]
    ) -> JobGate:
        job = self.found.jobs[lives[0].job_id]
        budget = self._budget(job, service)
        members = {
            one.attempt_id: Member(
                healthy=self._is_healthy(one, budget, service),
                relocations=Lineage.model_validate(one.lineage).spent.eviction,
                announced_at=self._announced_at(one.attempt_id),
            )
            for one in lives
        }
        return JobGate(budget, self._desired(job, service, len(lives)), members, used)

    def _budget(self, job: Job, service: Service | None) -> DisruptionBudget:
        named = service.budget if service else job.budget
        if named is None:
            return default_budget(None if job.service_id else job.runtime_limit, self.cause)
        self.found.named.add(job.key)
        return DisruptionBudget.model_validate(named)

    def _desired(self, job: Job, service: Service | None, lives: int) -> int:
        """How many there shall be: of an array those that have begun, and are not over."""
        if service is not None:
            return service.desired
        if job.kind != JobKind.BATCH:
            return lives
        return lives + children.between_attempts(self.session, job.job_id)

    def _is_healthy(self, one: Live, budget: DisruptionBudget, service: Service | None) -> bool:
        job = self.found.jobs[one.job_id]
        if one.attempt_id in self.found.let_go:
            return False
        if service is not None and job.workflow_id in service.leaving:
            return False
        checked = job.health is not None and budget.health is HealthProvider.CONTAINER
        return is_healthy(one.state, (one.health or {}).get("status"), checked=checked)

    def _announced_at(self, number: int) -> datetime | None:
        plan = self.found.plans.get(number)
        return None if plan is None or is_forgotten(plan, self.now) else plan.since
