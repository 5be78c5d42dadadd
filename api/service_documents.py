"""Rows of services as the API's documents."""

from datetime import datetime

from sqlmodel import Session

from api.links import operation_page, thing_page
from fleetwide.models.service_documents import (
    ActivityDocument,
    CopyDocument,
    RevisionDocument,
    ServiceDocument,
)
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.services.revisions import spec_changes
from fleetwide.store import services
from fleetwide.store.service_copies import Seen
from fleetwide.store.service_tables import (
    ServiceActivityRow,
    ServiceCopyRow,
    ServiceRevisionRow,
    ServiceRow,
)


def service_document(session: Session, row: ServiceRow) -> ServiceDocument:
    page = thing_page(row.workflow_id)
    parts = ("copies", "revisions", "activity", "endpoints", "targets", "scaling")
    return ServiceDocument(
        id=row.service_id,
        workflow_id=row.workflow_id,
        app=row.app,
        owner=row.owner,
        labels=row.labels,
        status=services.status_of(row),
        spec=services.spec_of(session, row),
        created_at=row.created_at,
        updated_at=row.updated_at,
        links={
            "self": page,
            "operation": operation_page(row.workflow_id),
            **{part: f"{page}/{part}" for part in parts},
        },
    )


def live_copy(one: Seen, now: datetime, healthy_seconds: float) -> CopyDocument:
    copy = one.copy
    return _copy(one.row).model_copy(
        update={
            "state": copy.state,
            "health": copy.health,
            "ready": copy.ready(now, healthy_seconds),
            "host_id": copy.host_id,
            "zone": copy.zone,
            "leaving": copy.leaving,
            "started_at": copy.started_at,
            "reason": copy.reason,
            "message": copy.message,
        }
    )


def ended_copy(row: ServiceCopyRow) -> CopyDocument:
    return _copy(row)


def _copy(row: ServiceCopyRow) -> CopyDocument:
    return CopyDocument(
        task_id=row.task_id,
        index=row.index,
        incarnation=row.incarnation,
        revision=row.revision,
        state=TaskState.FINISHED,
        host_id=row.host_id,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        reason=EndReason(row.reason) if row.reason else None,
        message=row.message,
        links={"task": thing_page(f"task/{row.task_id}")},
    )


def revision_document(
    row: ServiceRevisionRow, before: ServiceRevisionRow | None
) -> RevisionDocument:
    spec = ContainerServiceSpec.model_validate(row.spec)
    old = ContainerServiceSpec.model_validate(before.spec) if before else None
    return RevisionDocument(
        number=row.number,
        template=row.template,
        by=row.by,
        reason=row.reason,
        at=row.at,
        verdict=row.verdict,
        verdict_reason=row.verdict_reason,
        changes=spec_changes(old, spec) if old else [],
        spec=spec,
    )


def activity_document(row: ServiceActivityRow) -> ActivityDocument:
    assert row.id is not None
    return ActivityDocument(
        number=row.id,
        at=row.at,
        kind=row.kind,
        by=row.by,
        reason=row.reason,
        sentence=row.sentence,
        numbers=row.numbers,
        before=row.before,
        after=row.after,
    )
