"""Older samples of services with many copies, added up: one row for each metric and minute.

Each minute is added up once, whole, and its samples go in the same transaction; whatever is told
of it later is too old.
"""

from typing import Any

from sqlalchemy import BigInteger, Float, Integer, cast, delete, func, insert, literal, select
from sqlmodel import Session, col

from fleetwide.models.metrics import MINUTE
from fleetwide.store.metric_tables import MetricMinuteRow, MetricSampleRow

MINUTE_MILLISECONDS = int(MINUTE.total_seconds() * 1000)
_COLUMNS = (
    "service_id",
    "moment",
    "name",
    "of_copies",
    "together",
    "samples",
    "total",
    "least",
    "most",
)


def roll_up(session: Session, service_id: str, before: int) -> None:
    """Add up the minutes that end by ``before``, which is in milliseconds since 1970."""
    cut = before // MINUTE_MILLISECONDS * MINUTE_MILLISECONDS
    begin = end(session, service_id)
    minutes = _added_up(service_id, begin, cut)
    session.execute(insert(MetricMinuteRow).from_select(_COLUMNS, minutes))
    session.execute(
        delete(MetricSampleRow).where(
            col(MetricSampleRow.service_id) == service_id, col(MetricSampleRow.moment) < cut
        )
    )


def _added_up(service_id: str, begin: int, cut: int) -> Any:
    row = MetricSampleRow
    samples = (
        select(
            col(row.name),
            (col(row.task_id) != "").label("of_copies"),
            col(row.task_id),
            col(row.value),
            (col(row.moment) - col(row.moment) % MINUTE_MILLISECONDS).label("minute"),
        )
        .where(col(row.service_id) == service_id)
        .where(col(row.moment) >= begin, col(row.moment) < cut)
        .subquery()
        .c
    )
    each = (
        select(
            samples.minute,
            samples.name,
            samples.of_copies,
            func.avg(samples.value).label("average"),
            func.count().label("samples"),
            func.sum(samples.value).label("total"),
            func.min(samples.value).label("least"),
            func.max(samples.value).label("most"),
        )
        .group_by(samples.minute, samples.name, samples.of_copies, samples.task_id)
        .subquery()
        .c
    )
    return select(
        literal(service_id),
        cast(each.minute, BigInteger),
        each.name,
        each.of_copies,
        cast(func.sum(each.average), Float),
        cast(func.sum(each.samples), Integer),
        func.sum(each.total),
        func.min(each.least),
        func.max(each.most),
    ).group_by(each.minute, each.name, each.of_copies)


def end(session: Session, service_id: str) -> int:
    """The moment up to which all minutes are added up; 0 where none is."""
    query = (
        select(col(MetricMinuteRow.moment))
        .where(col(MetricMinuteRow.service_id) == service_id)
        .order_by(col(MetricMinuteRow.moment).desc())
        .limit(1)
    )
    last = session.scalar(query)
    return 0 if last is None else last + MINUTE_MILLISECONDS


def drop(session: Session, service_id: str | None, before: int) -> None:
    """Forget a service's older minutes; those of all services for None."""
    query = delete(MetricMinuteRow).where(col(MetricMinuteRow.moment) < before)
    if service_id is not None:
        query = query.where(col(MetricMinuteRow.service_id) == service_id)
    session.execute(query)
