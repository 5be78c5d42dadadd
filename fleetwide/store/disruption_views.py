"""What people see of the gate: plans ahead, and why a task was not moved. Reads alone."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, or_, select

from fleetwide.containers.disruption_gate import system_refusal
from fleetwide.containers.disruption_rates import Tokens, rate_of, still_used
from fleetwide.containers.disruption_windows import opens_at
from fleetwide.containers.disruptions import min_healthy, quota
from fleetwide.errors import NotFound
from fleetwide.models.disturbances import OF_HOSTS, Cause, Refusal, RefusalCode
from fleetwide.models.relocation_documents import DisruptionDocument, RelocationDocument
from fleetwide.models.task_states import TaskState
from fleetwide.store.disruption_gates import FORGOTTEN, Gates, is_forgotten, load
from fleetwide.store.disruption_tables import DisruptionQuotaRow, DisruptionRow, RelocationRow
from fleetwide.store.disruptions import QUOTA, system_quota
from fleetwide.store.tables import AttemptRow, JobRow


@dataclass(frozen=True)
class Plans:
    """Which plans; what is not given matters for nothing."""

    host_id: str | None = None
    budget_key: str | None = None
    before: int | None = None
    limit: int = 50


def listing(session: Session, wanted: Plans, *, now: datetime) -> list[RelocationDocument]:
    """Live attempts that somebody wants away, the newest first."""
    query = (
        select(RelocationRow, AttemptRow, JobRow, DisruptionRow)
        .join(AttemptRow, col(AttemptRow.id) == RelocationRow.attempt_id)
        .join(JobRow, col(JobRow.id) == AttemptRow.job_id)
        .outerjoin(DisruptionRow, col(DisruptionRow.attempt_id) == RelocationRow.attempt_id)
        .where(
            AttemptRow.state != TaskState.FINISHED,
            or_(col(RelocationRow.cause).in_(OF_HOSTS), RelocationRow.asked_at > now - FORGOTTEN),
        )
        .order_by(col(RelocationRow.attempt_id).desc())
        .limit(wanted.limit)
    )
    if wanted.host_id is not None:
        query = query.where(RelocationRow.host_id == wanted.host_id)
    if wanted.budget_key is not None:
        query = query.where(RelocationRow.budget_key == wanted.budget_key)
    if wanted.before is not None:
        query = query.where(RelocationRow.attempt_id < wanted.before)
    return [_document(*found) for found in session.exec(query)]


def _document(
    plan: RelocationRow, attempt: AttemptRow, job: JobRow, gone: DisruptionRow | None
) -> RelocationDocument:
    return RelocationDocument(
        attempt_id=plan.attempt_id,
        workflow_id=job.workflow_id,
        service_id=job.service_id,
        index=attempt.index,
        attempt=attempt.attempt,
        host_id=plan.host_id,
        cause=Cause(plan.cause),
        by=plan.by,
        reason=plan.reason,
        since=plan.since,
        asked_at=plan.asked_at,
        not_before=plan.not_before,
        refusal=Refusal.model_validate(plan.refusal) if plan.refusal else None,
        let_go_at=gone.granted_at if gone else None,
    )


def why_not_moved(
    session: Session, workflow_id: str, index: int, *, now: datetime
) -> DisruptionDocument:
    """What keeps the running attempt of a task, or of a child of a batch job, where it is.

    Raises:
        NotFound: none of it runs.
    """
    number = _running(session, workflow_id, index)
    found = load(session, [number], now=now)
    gate = found.gate(number)
    budget, key = gate.budget, found.job(number).key
    rate = rate_of(budget.rate, gate.desired)
    plan, refusal = _plan_of(session, found, number, now), None
    if number not in found.let_go:
        refusal = gate.refusal(number, now) or _of_the_platform(session, number, now)
    return DisruptionDocument(
        workflow_id=workflow_id,
        budget_key=key,
        sentence=_sentence(found.wanted[number].host_id, refusal, plan),
        budget=budget,
        default=key not in found.named,
        desired=gate.desired,
        healthy=gate.healthy,
        min_healthy=min_healthy(budget.policy, gate.desired),
        quota=quota(budget.policy, gate.desired, gate.healthy),
        rate_allowed=rate.count if rate else None,
        rate_used=len(still_used(gate.used, rate, now)) if rate else 0,
        window_opens_at=opens_at(budget.windows, now) if budget.windows else None,
        relocations=gate.members[number].relocations,
        refusal=refusal,
        plan=plan,
    )


def _running(session: Session, workflow_id: str, index: int) -> int:
    query = (
        select(AttemptRow.id)
        .join(JobRow, col(AttemptRow.job_id) == JobRow.id)
        .where(
            JobRow.workflow_id == workflow_id,
            AttemptRow.index == index,
            col(AttemptRow.reserved).is_(True),
        )
        .order_by(col(AttemptRow.id).desc())
    )
    found = session.exec(query.limit(1)).first()
    if found is None:
        kind, _, name = workflow_id.partition("/")
        raise NotFound(
            f"nothing of {workflow_id} runs on a host now", hint=f"fleetwide {kind} show {name}"
        )
    return found


def _of_the_platform(session: Session, number: int, now: datetime) -> Refusal | None:
    row, rules = session.get(DisruptionQuotaRow, QUOTA), system_quota(session)
    tokens = Tokens(row.tokens, row.at).by(now, rules) if row else Tokens(rules.most, now)
    return system_refusal(number, tokens, rules)


def _plan_of(
    session: Session, found: Gates, number: int, now: datetime
) -> RelocationDocument | None:
    plan, attempt = found.plans.get(number), session.get(AttemptRow, number)
    job = session.get(JobRow, attempt.job_id) if attempt else None
    if plan is None or attempt is None or job is None or is_forgotten(plan, now):
        return None
    return _document(plan, attempt, job, found.let_go.get(number))


def _sentence(host_id: str | None, refusal: Refusal | None, plan: RelocationDocument | None) -> str:
    if plan is None:
        answer = f"but {refusal.sentence}" if refusal else "and its budget would let it go"
        return f"nobody wants it away from host {host_id}, {answer}"
    who = f" by {plan.by}" if plan.by else ""
    why = f"{plan.cause}{who}: {plan.reason}" if plan.reason else f"{plan.cause}{who}"
    if plan.let_go_at is not None:
        return f"it is leaving host {host_id} since {plan.let_go_at:%H:%M:%S} UTC ({why})"
    keeps = refusal or plan.refusal
    if keeps is None:
        return f"nothing keeps it on host {host_id}: it goes when it is asked for next ({why})"
    return f"it is to leave host {host_id} ({why}), but {keeps.sentence}"


def held_back(session: Session, host_id: str) -> dict[RefusalCode, int]:
    """Of the attempts that are to leave a host: how many wait for what."""
    query = (
        select(RelocationRow.refusal)
        .join(AttemptRow, col(AttemptRow.id) == RelocationRow.attempt_id)
        .where(
            RelocationRow.host_id == host_id,
            col(RelocationRow.refusal).is_not(None),
            col(AttemptRow.state).not_in([TaskState.KILL_INITIATED, TaskState.FINISHED]),
        )
    )
    codes = Counter(RefusalCode(refusal["code"]) for refusal in session.exec(query) if refusal)
    return dict(codes.most_common())
