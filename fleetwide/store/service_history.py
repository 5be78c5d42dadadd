"""What was done to a service, and the versions of its spec: both only ever grow."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import Session, col, select

from fleetwide.errors import NotFound
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.store import events
from fleetwide.store.service_tables import ServiceActivityRow, ServiceRevisionRow

GOOD, BAD = "good", "bad"
PLATFORM = "fleetwide"


@dataclass(frozen=True)
class Deed:
    """One change, for the history."""

    kind: str
    sentence: str
    by: str = ""
    reason: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)


def note(session: Session, service_id: str, deed: Deed, *, now: datetime) -> None:
    """Keep a change in the service's history, and tell it as an event."""
    session.add(
        ServiceActivityRow(
            service_id=service_id,
            at=now,
            kind=deed.kind,
            by=deed.by,
            reason=deed.reason,
            sentence=deed.sentence,
            numbers=dict(deed.numbers),
            before=dict(deed.before),
            after=dict(deed.after),
        )
    )
    by = f" ({deed.by})" if deed.by else ""
    why = f": {deed.reason}" if deed.reason else ""
    events.append(
        session,
        f"service/{service_id}",
        deed.kind,
        f"{deed.sentence}{by}{why}",
        at=now,
        data={"by": deed.by, "numbers": dict(deed.numbers)},
    )


@contextmanager
def once(session: Session, service_id: str, change_id: str | None) -> Iterator[bool]:
    """Whether a change is yet to be made; what is noted in the block is noted as that change.

    Who makes it may be killed when it is written and not answered: it is asked for again then.
    """
    if change_id is not None and _is_done(session, service_id, change_id):
        yield False
        return
    before = _newest(session, service_id)
    yield True
    session.flush()
    after = _newest(session, service_id)
    if after is not None and after != before:
        session.get_one(ServiceActivityRow, after).change_id = change_id


def _is_done(session: Session, service_id: str, change_id: str) -> bool:
    query = select(ServiceActivityRow.id).where(
        ServiceActivityRow.change_id == change_id, ServiceActivityRow.service_id == service_id
    )
    return session.exec(query).first() is not None


def _newest(session: Session, service_id: str) -> int | None:
    query = select(func.max(ServiceActivityRow.id)).where(
        ServiceActivityRow.service_id == service_id
    )
    return session.exec(query).one()


def activities(
    session: Session, service_id: str, *, before: int | None = None, limit: int = 50
) -> Sequence[ServiceActivityRow]:
    """Changes, newest first; ``before`` is the number of the last one already seen."""
    query = select(ServiceActivityRow).where(ServiceActivityRow.service_id == service_id)
    if before is not None:
        query = query.where(col(ServiceActivityRow.id) < before)
    return session.exec(query.order_by(col(ServiceActivityRow.id).desc()).limit(limit)).all()


def revision(session: Session, service_id: str, number: int) -> ServiceRevisionRow:
    """One version.

    Raises:
        NotFound: there is none of that number.
    """
    row = session.get(ServiceRevisionRow, (service_id, number))
    if row is None:
        raise NotFound(
            f"service {service_id} has no revision {number}",
            hint=f"fleetwide service revisions {service_id}",
        )
    return row


def revisions(
    session: Session, service_id: str, *, before: int | None = None, limit: int = 50
) -> Sequence[ServiceRevisionRow]:
    """Versions, newest first."""
    query = select(ServiceRevisionRow).where(ServiceRevisionRow.service_id == service_id)
    if before is not None:
        query = query.where(col(ServiceRevisionRow.number) < before)
    return session.exec(query.order_by(col(ServiceRevisionRow.number).desc()).limit(limit)).all()


def spec_of(session: Session, service_id: str, number: int) -> ContainerServiceSpec:
    """The spec of one version.

    Raises:
        NotFound: there is none of that number.
    """
    return ContainerServiceSpec.model_validate(revision(session, service_id, number).spec)


def template_of(session: Session, service_id: str, template: int) -> ContainerServiceSpec:
    """What copies of a template are made from: the newest version that shares it."""
    query = select(ServiceRevisionRow).where(
        ServiceRevisionRow.service_id == service_id, ServiceRevisionRow.template == template
    )
    row = session.exec(query.order_by(col(ServiceRevisionRow.number).desc()).limit(1)).first()
    if row is None:
        raise NotFound(f"service {service_id} has no revision {template}")
    return ContainerServiceSpec.model_validate(row.spec)


def judge(session: Session, service_id: str, template: int, verdict: str, reason: str) -> None:
    """Note what became of a template; a later verdict takes the place of an earlier one."""
    query = select(ServiceRevisionRow).where(
        ServiceRevisionRow.service_id == service_id, ServiceRevisionRow.template == template
    )
    for row in session.exec(query):
        row.verdict, row.verdict_reason = verdict, reason
        session.add(row)


def newest_good(session: Session, service_id: str, before: int) -> ServiceRevisionRow | None:
    """The newest version before number ``before`` whose copies were healthy once."""
    query = select(ServiceRevisionRow).where(
        ServiceRevisionRow.service_id == service_id,
        col(ServiceRevisionRow.number) < before,
        ServiceRevisionRow.verdict == GOOD,
    )
    return session.exec(query.order_by(col(ServiceRevisionRow.number).desc()).limit(1)).first()
