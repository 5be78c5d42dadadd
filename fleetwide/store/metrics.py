"""Samples of services: pushed once, read in bulk, dropped when nobody looks back so far."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete
from sqlmodel import Session, col, select

from fleetwide.errors import FieldFault, NotFound
from fleetwide.models.metrics import (
    KEPT,
    KEPT_EACH,
    MAX_AHEAD,
    MAX_SAMPLES,
    MINUTE,
    SHOWN,
    MetricBatch,
    MetricDocument,
    MetricSample,
    MetricsTaken,
    MinuteFigures,
    Sample,
)
from fleetwide.store import metric_minutes, service_copies
from fleetwide.store.metric_tables import MetricMinuteRow, MetricSampleRow
from fleetwide.store.service_tables import ServiceRow
from fleetwide.store.upserts import Upsert, add_new
from fleetwide.validation import from_faults

_KEY = ["service_id", "moment", "name", "task_id", "source"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
SETTLED = timedelta(seconds=30)
"""So long after a minute its samples are all there."""
_KEEP_FIRST = Upsert.into(
    MetricSampleRow, lambda insert: insert.on_conflict_do_nothing(index_elements=_KEY)
)


@dataclass(frozen=True)
class Wanted:
    """Samples of one metric of a service, or of all; of one of its copies, or of all."""

    service_id: str
    name: str | None = None
    task_id: str | None = None
    limit: int = 200


def push(session: Session, batch: MetricBatch, *, now: datetime) -> MetricsTaken:
    """Keep what is new of a batch; what is too old is left out.

    Raises:
        NotFound: a service is not there; nothing is kept then, and ``fields`` say which.
        InvalidInput: a moment lies ahead; nothing is kept then either.
    """
    batch = batch.model_copy(update={"samples": _owned(session, batch.samples)})
    ahead, unknown = _ahead(batch.samples, now), _unknown(session, batch.samples)
    if ahead:
        raise from_faults(ahead)
    if unknown:
        raise NotFound(str(unknown[0]), hint="fleetwide service list", fields=tuple(unknown))
    ends = {name: metric_minutes.end(session, name) for name in {s.service for s in batch.samples}}
    young = [
        one
        for one in batch.samples
        if (at := one.at or now) >= now - KEPT and _moment(at) >= ends[one.service]
    ]
    taken = add_new(
        session, MetricSampleRow, [_row(one, batch.source, now) for one in young], key=_KEY
    )
    for service_id in {one.service for one in young}:
        bound(session, service_id)
    return MetricsTaken(
        taken=taken, known=len(young) - taken, too_old=len(batch.samples) - len(young)
    )


def _owned(session: Session, samples: Sequence[MetricSample]) -> list[MetricSample]:
    """Each of the service that its task is a copy of now: a container knows only the first."""
    owners = service_copies.services_of(session, sorted({one.task for one in samples if one.task}))
    return [
        one.model_copy(update={"service": owners.get(one.task or "", one.service)})
        for one in samples
    ]


def add_told(session: Session, source: str, told: Iterable[tuple[str, Sample]]) -> None:
    """Keep what one source told of services; told again, nothing changes."""
    told = list(told)
    ends = {name: metric_minutes.end(session, name) for name in {name for name, _ in told}}
    rows = [
        {
            "service_id": service_id,
            "moment": _moment(sample.at),
            "name": sample.metric,
            "task_id": sample.task_id,
            "source": source,
            "value": sample.value,
        }
        for service_id, sample in told
        if _moment(sample.at) >= ends[service_id]
    ]
    if rows:
        _KEEP_FIRST.run(session, rows)


def samples_of(
    session: Session, service_id: str, names: Iterable[str], since: datetime
) -> list[Sample]:
    """The samples of some metrics of a service from ``since`` on."""
    row = MetricSampleRow
    query = select(row.name, row.task_id, row.value, row.moment).where(
        row.service_id == service_id, col(row.moment) >= _moment(since), col(row.name).in_(names)
    )
    return [
        Sample(name, task_id, value, _time(moment))
        for name, task_id, value, moment in session.exec(query)
    ]


def minutes_of(
    session: Session, service_id: str, names: Iterable[str], since: datetime
) -> list[MinuteFigures]:
    """What older samples were made into, in the minutes from ``since`` on."""
    row = MetricMinuteRow
    query = select(row).where(
        row.service_id == service_id,
        col(row.moment) >= _moment(since),
        col(row.name).in_(names),
    )
    return [
        MinuteFigures(
            metric=found.name,
            of_copies=found.of_copies,
            at=_time(found.moment) + MINUTE / 2,
            together=found.together,
            samples=found.samples,
            total=found.total,
            least=found.least,
            most=found.most,
        )
        for found in session.exec(query)
    ]


def newest(session: Session, wanted: Wanted) -> list[MetricDocument]:
    """The newest samples first."""
    query = select(MetricSampleRow).where(MetricSampleRow.service_id == wanted.service_id)
    if wanted.name is not None:
        query = query.where(MetricSampleRow.name == wanted.name)
    if wanted.task_id is not None:
        query = query.where(MetricSampleRow.task_id == wanted.task_id)
    rows = session.exec(query.order_by(col(MetricSampleRow.moment).desc()).limit(wanted.limit))
    return [_document(row) for row in rows]


def prune(session: Session, spans: Mapping[str, timedelta], *, now: datetime) -> None:
    """Drop what nobody looks back at: ``spans`` says how far, by service; of others what is old.

    What a service has beyond what is kept each is added up by the minute.
    """
    metric_minutes.drop(session, None, _moment(now - KEPT))
    for service_id in _services(session):
        span = max(spans.get(service_id, KEPT), SHOWN)
        _drop(session, service_id, _moment(now - span))
        metric_minutes.drop(session, service_id, _moment(now - span))
        surplus = _surplus(session, service_id, KEPT_EACH)
        if surplus is not None:
            metric_minutes.roll_up(session, service_id, min(surplus, _moment(now - SETTLED)))
        bound(session, service_id)


def _services(session: Session) -> Iterator[str]:
    """Services that have samples; each is one look into the index, however many samples it has."""
    last: str | None = ""
    while last is not None:
        query = select(MetricSampleRow.service_id).where(MetricSampleRow.service_id > last)
        last = session.exec(query.order_by(MetricSampleRow.service_id).limit(1)).first()
        if last is not None:
            yield last


def bound(session: Session, service_id: str) -> None:
    """Drop the oldest samples beyond the number that a service may have."""
    surplus = _surplus(session, service_id, MAX_SAMPLES)
    if surplus is not None:
        _drop(session, service_id, surplus + 1)


def _surplus(session: Session, service_id: str, most: int) -> int | None:
    """The moment of the newest sample beyond the ``most`` newest ones."""
    query = (
        select(MetricSampleRow.moment)
        .where(MetricSampleRow.service_id == service_id)
        .order_by(col(MetricSampleRow.moment).desc())
        .offset(most)
        .limit(1)
    )
    return session.exec(query).first()


def _drop(session: Session, service_id: str, before: int) -> None:
    session.execute(
        delete(MetricSampleRow).where(
            col(MetricSampleRow.service_id) == service_id, col(MetricSampleRow.moment) < before
        )
    )


def _unknown(session: Session, samples: Sequence[MetricSample]) -> list[FieldFault]:
    named = {one.service for one in samples}
    query = select(ServiceRow.service_id).where(
        col(ServiceRow.service_id).in_(named), ServiceRow.state != "Deleted"
    )
    there = set(session.exec(query))
    return [
        FieldFault(f"samples[{index}].service", "there is no such service", repr(one.service))
        for index, one in enumerate(samples)
        if one.service not in there
    ]


def _ahead(samples: Sequence[MetricSample], now: datetime) -> list[FieldFault]:
    return [
        FieldFault(
            f"samples[{index}].at",
            f"lies {(one.at - now).total_seconds():.0f} s ahead: set the clock of who told it",
            one.at.isoformat(),
        )
        for index, one in enumerate(samples)
        if one.at is not None and one.at > now + MAX_AHEAD
    ]


def _row(sample: MetricSample, source: str, now: datetime) -> dict[str, Any]:
    return {
        "service_id": sample.service,
        "moment": _moment(sample.at or now),
        "name": sample.name,
        "task_id": sample.task or "",
        "source": source,
        "value": sample.value,
    }


def _document(row: MetricSampleRow) -> MetricDocument:
    return MetricDocument(
        service=row.service_id,
        task=row.task_id or None,
        name=row.name,
        value=row.value,
        at=_time(row.moment),
        source=row.source,
    )


def _moment(at: datetime) -> int:
    return (at - _EPOCH) // _MILLISECOND


def _time(moment: int) -> datetime:
    return _EPOCH + moment * _MILLISECOND
