"""The one gate that every planned end of running attempts goes through.

Who asks waits for whoever asks at the same time: the row of the platform's quota is locked first,
so what one takes of a budget the next one sees. Nothing is taken that is not granted.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, delete, select

from fleetwide.containers.disruption_gate import system_refusal
from fleetwide.containers.disruption_rates import SystemQuota, Tokens
from fleetwide.models.containers import AttemptKey
from fleetwide.models.disturbances import (
    REFUSAL_TEXT,
    Answer,
    Cause,
    Disturbed,
    Refusal,
    RefusalCode,
)
from fleetwide.store import disruption_jobs, events, relocations, upserts
from fleetwide.store.among import among
from fleetwide.store.disruption_gates import Demand, Gates, load
from fleetwide.store.disruption_tables import DisruptionQuotaRow, DisruptionRow
from fleetwide.store.tables import AttemptRow

QUOTA = "system"
KEPT = timedelta(days=1)


def ask(
    session: Session,
    wanted: Sequence[Disturbed],
    *,
    cause: Cause,
    by: str,
    now: datetime,
    forced: bool = False,
) -> Answer:
    """Take what ending these attempts costs their budgets; in order, as far as there is some.

    Whoever gets an answer ends what was granted, after this transaction, or gives it back
    (``give_back``). To ask again for one that was granted and has not ended costs nothing more,
    and is needed: one that is neither ended nor asked for again within ``EXPIRES`` stays after
    all. Why it is wanted is the transaction's own ``reason`` (``store.write(reason=...)``).
    ``forced`` grants all, and tells everybody so.
    """
    reason = str(session.info.get("reason", ""))
    return answer(session, wanted, Demand(cause, by, now, reason, forced))


def answer(session: Session, wanted: Sequence[Disturbed], demand: Demand) -> Answer:
    """What ``ask`` does; of more than ``most`` the rest is told that it waits for its turn."""
    now, quota = demand.now, system_quota(session)
    row = _locked(session, quota, now)
    ids = {one.attempt_id for one in wanted}
    found = load(session, ids, now=now, cause=demand.cause)
    for stays in found.expired:
        session.delete(stays)
    tokens = Tokens(row.tokens, row.at).by(now, quota)
    asking = _Asking(session, found, demand, quota, tokens.without(-len(found.expired)))
    for one in wanted:
        asking.decide(one)
    row.tokens, row.at = min(asking.tokens.left, quota.most), now
    session.add(row)
    events.append_all(session, asking.told)
    if asking.told:
        _forget_old(session, now)
    return Answer(granted=asking.granted, refused=asking.refused)


def give_back(session: Session, attempt_ids: Collection[int], *, now: datetime) -> None:
    """Nobody ends these attempts after all: what they took of their budgets is there again."""
    quota = system_quota(session)
    row = _locked(session, quota, now)
    query = select(DisruptionRow).where(
        among(session, DisruptionRow.attempt_id, sorted(attempt_ids))
    )
    taken = session.exec(query).all()
    relocations.call_off(session, sorted(attempt_ids))
    for one in taken:
        session.delete(one)
        told = "it is not moved after all: nobody could be told"
        events.append(session, one.budget_key, "disruptionGivenBack", told, at=now)
    row.tokens = min(Tokens(row.tokens, row.at).by(now, quota).left + len(taken), quota.most)
    row.at = now
    session.add(row)


def system_quota(session: Session) -> SystemQuota:
    """What the platform moves of all jobs together, as the store was opened with."""
    found: SystemQuota = session.info["system_quota"]
    return found


def disturbed(session: Session, attempt_ids: Sequence[int]) -> list[Disturbed]:
    """The live ones of these attempts, in their order, with what is to be told of their end."""
    lives = disruption_jobs.live(session, among(session, AttemptRow.id, attempt_ids))
    jobs = disruption_jobs.own_jobs(session, {one.job_id for one in lives.values()})
    found = []
    for number in attempt_ids:
        if (one := lives.get(number)) is None:
            continue
        job = jobs[one.job_id]
        key = AttemptKey(
            workflow_id=job.workflow_id, run_id=job.run_id, index=one.index, attempt=one.attempt
        )
        found.append(
            Disturbed(
                attempt_id=number,
                kind=job.kind,
                key=key,
                service_id=job.service_id,
                copy_index=job.copy_index,
                host_id=one.host_id,
                ends=one.ends,
            )
        )
    return found


def _locked(session: Session, quota: SystemQuota, now: datetime) -> DisruptionQuotaRow:
    row = _lock(session)
    if row is None:
        new = {"name": QUOTA, "tokens": quota.most, "at": now}
        upserts.add_new(session, DisruptionQuotaRow, [new], key=["name"])
        row = _lock(session)
    assert row is not None
    return row


def _lock(session: Session) -> DisruptionQuotaRow | None:
    return session.get(DisruptionQuotaRow, QUOTA, with_for_update=True, populate_existing=True)


def _forget_old(session: Session, now: datetime) -> None:
    """Drop what counts for nothing any more; only who holds the lock writes these tables."""
    session.exec(delete(DisruptionRow).where(col(DisruptionRow.asked_at) < now - KEPT))
    relocations.forget_ended(session, now=now)


@dataclass
class _Asking:
    """One demand while it is being answered."""

    session: Session
    found: Gates
    demand: Demand
    quota: SystemQuota
    tokens: Tokens
    granted: list[Disturbed] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    def decide(self, one: Disturbed) -> None:
        """Let it go, or say why not; one that is over or ends already is no matter."""
        live = self.found.wanted.get(one.attempt_id)
        if live is None or live.ends:
            return
        known = self.found.let_go.get(one.attempt_id)
        if known is not None:
            known.asked_at = self.demand.now
            self.session.add(known)
            self.granted.append(one)
            return
        refusal = None if self.demand.forced else self._refusal(one.attempt_id)
        self.told += relocations.note(self.session, self.found, one, refusal, self.demand)
        if refusal is None:
            self._let_go(one)
        else:
            self.refused.append(refusal)

    def _refusal(self, number: int) -> Refusal | None:
        most, now = self.demand.most, self.demand.now
        if most is not None and len(self.granted) >= most:
            return Refusal(
                attempt_id=number,
                code=RefusalCode.WAITS_FOR_ITS_TURN,
                sentence=(
                    f"{most} tasks are being moved, and no more at a time"
                    if most
                    else REFUSAL_TEXT[RefusalCode.WAITS_FOR_ITS_TURN]
                ),
                numbers={"atATime": most},
            )
        refusal = self.found.gate(number).refusal(number, now)
        return refusal or system_refusal(number, self.tokens, self.quota)

    def _let_go(self, one: Disturbed) -> None:
        demand, key = self.demand, self.found.job(one.attempt_id).key
        self.found.gate(one.attempt_id).take(one.attempt_id, demand.now)
        self.tokens = self.tokens.without(1)
        row = DisruptionRow(
            attempt_id=one.attempt_id,
            budget_key=key,
            cause=demand.cause,
            by=demand.by,
            reason=demand.reason,
            forced=demand.forced,
            granted_at=demand.now,
            asked_at=demand.now,
        )
        self.session.add(row)
        self.found.let_go[one.attempt_id] = row
        self.granted.append(one)
        told = "is moved by force, whatever its budget says" if demand.forced else "is moved"
        kind = "disruptionForced" if demand.forced else "disruption"
        self.told.append(relocations.event(key, one, kind, told, demand))
