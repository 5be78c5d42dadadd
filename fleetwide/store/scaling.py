"""What automatic scaling goes by in SQL: services with policies, and what was decided last."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete
from sqlmodel import Session, col, select

from fleetwide.errors import NotFound
from fleetwide.models.scaling import (
    HoldCode,
    LastAction,
    PolicyVerdict,
    ScalingPolicy,
    ScalingStatus,
)
from fleetwide.services.scaling_verdicts import Scalable
from fleetwide.store.metric_tables import ServiceScalingRow
from fleetwide.store.service_tables import ServiceCopyRow, ServiceRevisionRow, ServiceRow
from fleetwide.store.upserts import Upsert

_SAVED = (
    "desired",
    "code",
    "sentence",
    "numbers",
    "policies",
    "last_actions",
    "decided_at",
)
_SAVE = Upsert.into(
    ServiceScalingRow,
    lambda insert: insert.on_conflict_do_update(
        index_elements=["service_id"], set_={name: insert.excluded[name] for name in _SAVED}
    ),
)


@dataclass(frozen=True)
class ScaledService:
    """A service that has policies."""

    service_id: str
    workflow_id: str
    version: int
    policies: list[ScalingPolicy]
    bounds: Scalable
    last_actions: list[LastAction]
    seen_desired: int | None
    """As it was when this was decided last."""

    @property
    def metrics(self) -> frozenset[str]:
        """What its policies go by."""
        return frozenset(one.metric for one in self.policies)

    @property
    def history(self) -> timedelta:
        """How far back its samples matter."""
        return timedelta(seconds=max(one.history_seconds for one in self.policies))

    @property
    def recent(self) -> timedelta:
        """How far back the samples matter that most decisions need."""
        return timedelta(seconds=max(one.recent_seconds for one in self.policies))


@dataclass(frozen=True)
class Outcome:
    """What was decided for a service, and what it remembers."""

    service_id: str
    desired: int
    sentence: str
    code: HoldCode | None
    numbers: dict[str, float]
    verdicts: Sequence[PolicyVerdict]
    last_actions: Sequence[LastAction]
    at: datetime


def listing(session: Session) -> list[ScaledService]:
    """All services that live and have policies."""
    query = _query().where(ServiceRow.state == "Active").order_by(col(ServiceRow.service_id))
    rows = [found for found in session.exec(query) if found[1]]
    live = _live_copies(session, [row.service_id for row, _, _ in rows])
    return [
        _scaled(row, policies, last, frozenset(live[row.service_id]))
        for row, policies, last in rows
    ]


def _live_copies(session: Session, service_ids: Sequence[str]) -> dict[str, set[str]]:
    """The task ids of the copies that are not over."""
    query = select(ServiceCopyRow.service_id, ServiceCopyRow.task_id).where(
        col(ServiceCopyRow.service_id).in_(service_ids), col(ServiceCopyRow.ended_at).is_(None)
    )
    found = defaultdict[str, set[str]](set)
    for service_id, task_id in session.exec(query):
        found[service_id].add(task_id)
    return found


def _query() -> Any:
    """Services with the policies of their newest revision, and what was decided last."""
    policies = ServiceRevisionRow.spec["autoscaling"]
    return (
        select(ServiceRow, policies, ServiceScalingRow)
        .join(
            ServiceRevisionRow,
            (col(ServiceRevisionRow.service_id) == col(ServiceRow.service_id))
            & (col(ServiceRevisionRow.number) == col(ServiceRow.revision)),
        )
        .outerjoin(
            ServiceScalingRow, col(ServiceScalingRow.service_id) == col(ServiceRow.service_id)
        )
    )


def _scaled(
    row: ServiceRow,
    policies: list[object],
    last: ServiceScalingRow | None,
    live: frozenset[str],
) -> ScaledService:
    return ScaledService(
        service_id=row.service_id,
        workflow_id=row.workflow_id,
        version=row.version,
        policies=[ScalingPolicy.model_validate(one) for one in policies],
        bounds=Scalable(
            desired=row.desired,
            min=row.least,
            max=row.most,
            enabled=row.enabled,
            may_grow=not row.disable_increase_desired,
            may_shrink=not row.disable_decrease_desired,
            live=live,
        ),
        last_actions=[LastAction.model_validate(one) for one in last.last_actions] if last else [],
        seen_desired=last.desired if last else None,
    )


def save(session: Session, outcomes: Sequence[Outcome]) -> None:
    """Keep what was decided, in place of what was before."""
    if outcomes:
        _SAVE.run(session, [_values(one) for one in outcomes])


def _values(outcome: Outcome) -> dict[str, Any]:
    return {
        "service_id": outcome.service_id,
        "desired": outcome.desired,
        "code": outcome.code,
        "sentence": outcome.sentence,
        "numbers": outcome.numbers,
        "policies": [one.model_dump(mode="json") for one in outcome.verdicts],
        "last_actions": [one.model_dump(mode="json") for one in outcome.last_actions],
        "decided_at": outcome.at,
    }


def forget_others(session: Session, service_ids: Sequence[str]) -> None:
    """Drop what is kept of services that have no policies any more."""
    session.execute(
        delete(ServiceScalingRow).where(col(ServiceScalingRow.service_id).not_in(service_ids))
    )


def status(session: Session, service_id: str) -> ScalingStatus:
    """What was decided last for a service.

    Raises:
        NotFound: there is no such service.
    """
    found = session.exec(_query().where(ServiceRow.service_id == service_id)).first()
    if found is None:
        raise NotFound(f"there is no service {service_id}", hint="fleetwide service list")
    service, policies, last = found
    return ScalingStatus(
        service_id=service_id,
        desired=service.desired,
        min=service.least,
        max=service.most,
        **(_last(last) if last and policies else _nothing(bool(policies))),
    )


def _last(row: ServiceScalingRow) -> dict[str, Any]:
    return {
        "at": row.decided_at,
        "code": row.code,
        "sentence": row.sentence,
        "numbers": row.numbers,
        "policies": row.policies,
        "last_actions": row.last_actions,
    }


def _nothing(has_policies: bool) -> dict[str, Any]:
    if has_policies:
        return {"sentence": "nothing was decided yet"}
    return {"code": HoldCode.NO_POLICIES, "sentence": "it has no policies"}
