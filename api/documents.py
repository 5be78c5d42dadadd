"""Rows of the database as the API's documents."""

from collections.abc import Sequence
from urllib.parse import quote

from sqlmodel import Session

from api.links import links_of
from fleetwide.containers.company import log_key as container_log_key
from fleetwide.models.bakes import BakedImage, BakeFailure, BakeState, StageTime
from fleetwide.models.base import Waiting
from fleetwide.models.batch_states import BatchState
from fleetwide.models.containers import AttemptKey, AttemptResult
from fleetwide.models.documents import (
    AttemptDocument,
    BakeDocument,
    ChannelDocument,
    EventDocument,
    ExtraDocument,
    ImageDocument,
    JobDocument,
    ReleaseDocument,
    TaskChange,
    TaskDocument,
)
from fleetwide.models.extra_containers import MAIN, ExtraProgress
from fleetwide.models.health import HealthReport
from fleetwide.models.os_documents import DocumentEntry
from fleetwide.models.os_releases import Attachment, Channel
from fleetwide.models.retries import Lineage
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.settings import Settings
from fleetwide.store import children, jobs, releases
from fleetwide.store.tables import (
    AttemptRow,
    BakeRow,
    ChannelRow,
    EventRow,
    ImageRow,
    JobRow,
    OSReleaseRow,
)


def release_document(settings: Settings, session: Session, row: OSReleaseRow) -> ReleaseDocument:
    release = releases.to_model(session, row)
    page = release_page(row.name, row.version)
    links = {**links_of(settings, row.workflow_id, row.run_id), "self": page}
    if release.lock is not None:
        links |= {part: f"{page}/{part}" for part in ("lock", "diff", "documents")}
    return ReleaseDocument(**release.model_dump(), run_id=row.run_id, links=links)


def release_page(name: str, version: str) -> str:
    """The page of a release; a scheduled build's workflow is not named after it."""
    return f"/v1/os/releases/{quote(name)}/{quote(version)}"


def document_entry(release: ReleaseDocument, attachment: Attachment) -> DocumentEntry:
    name = attachment.key.rpartition("/")[2]
    page = f"{release.links['documents']}/{quote(name)}"
    return DocumentEntry(**attachment.model_dump(), name=name, links={"self": page})


def channel_document(row: ChannelRow) -> ChannelDocument:
    return ChannelDocument(
        name=row.name,
        channel=Channel(row.channel),
        version=row.version,
        revision=row.revision,
        updated_at=row.updated_at,
    )


def image_document(settings: Settings, row: ImageRow) -> ImageDocument:
    image = BakedImage.model_validate(row.image)
    links = links_of(settings, row.workflow_id, "")
    return ImageDocument(**image.model_dump(), owner=row.owner, links=links)


def bake_document(settings: Settings, row: BakeRow) -> BakeDocument:
    page = f"/v1/bakes/{row.bake_key}"
    links = {
        **links_of(settings, row.workflow_id, row.run_id),
        "self": page,
        "logs": f"{page}/logs",
        "why": f"{page}/why",
    }
    return BakeDocument(
        bake_key=row.bake_key,
        request_key=row.request_key,
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        name=row.name,
        version=row.version,
        base=str(row.inputs.get("base", "")),
        owner=row.owner,
        state=BakeState(row.state),
        stages=[StageTime.model_validate(stage) for stage in row.stages],
        failure=BakeFailure.model_validate(row.failure) if row.failure else None,
        created_at=row.created_at,
        finished_at=row.finished_at,
        links=links,
    )


def attempt_document(row: AttemptRow) -> AttemptDocument:
    evidence = AttemptResult.model_validate(row.result) if row.result else None
    return AttemptDocument(
        index=row.index,
        attempt=row.attempt,
        state=TaskState(row.state),
        reason=EndReason(row.reason) if row.reason else None,
        message=row.message,
        exit_code=row.exit_code,
        signal=evidence.signal if evidence else None,
        oom_killed=row.oom_killed,
        host_id=row.host_id,
        devices=row.devices,
        ports=row.ports,
        waiting=Waiting.model_validate(row.waiting) if row.waiting else None,
        leaves_at=row.preempt_at,
        lineage=Lineage.model_validate(row.lineage),
        last_lines=evidence.last_lines if evidence else [],
        health=_health(row, evidence),
        extra_containers=_extras(row, evidence),
        accepted_at=row.accepted_at,
        launched_at=row.launched_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def _health(row: AttemptRow, evidence: AttemptResult | None) -> HealthReport | None:
    """What was told last: at the end, else by the host's last report."""
    if evidence is not None and evidence.health is not None:
        return evidence.health
    return HealthReport.model_validate(row.health) if row.health else None


def _extras(row: AttemptRow, evidence: AttemptResult | None) -> list[ExtraDocument]:
    told = {one.name: one for one in map(ExtraProgress.model_validate, row.extra_containers or [])}
    if evidence is None:
        return [ExtraDocument(**one.model_dump()) for one in told.values()]
    return [
        ExtraDocument(
            state=TaskState.FINISHED,
            health=told[end.name].health if end.name in told else None,
            **end.model_dump(),
        )
        for end in evidence.extra_containers
    ]


def log_key(job: JobRow, attempt: AttemptRow, container: str = MAIN) -> str:
    """Where the log of one of its containers lies; it is known before the attempt has ended."""
    key = AttemptKey(
        workflow_id=job.workflow_id,
        run_id=job.run_id,
        index=attempt.index,
        attempt=attempt.attempt,
    )
    if container == MAIN and attempt.log_key:
        return attempt.log_key
    return container_log_key(key, container)


def task_state(job: JobRow, attempts: Sequence[AttemptRow]) -> TaskState:
    """The task is where its newest attempt is, and finished only when it is booked as such."""
    if job.finished_at is not None:
        return TaskState.FINISHED
    newest = TaskState(attempts[-1].state) if attempts else TaskState.ACCEPTED
    return TaskState.ACCEPTED if newest is TaskState.FINISHED else newest


def task_document(settings: Settings, session: Session, job: JobRow) -> TaskDocument:
    assert job.id is not None
    rows = jobs.attempts(session, job.id)
    last = attempt_document(rows[-1]) if rows else None
    return TaskDocument(
        id=job.workflow_id.removeprefix("task/"),
        workflow_id=job.workflow_id,
        run_id=job.run_id,
        app=job.app,
        owner=job.owner,
        labels=job.spec.get("labels", {}),
        capacity_group=job.capacity_group,
        priority=job.priority,
        service_id=job.service_id,
        state=task_state(job, rows),
        image=job.image,
        host_id=last.host_id if last else None,
        reason=last.reason if last else None,
        message=last.message if last else "",
        exit_code=last.exit_code if last else None,
        waiting=last.waiting if last else None,
        attempts=[attempt_document(row) for row in rows],
        created_at=job.created_at,
        finished_at=job.finished_at,
        links=links_of(settings, job.workflow_id, job.run_id),
    )


def job_document(settings: Settings, session: Session, job: JobRow) -> JobDocument:
    running = job.finished_at is None
    return JobDocument(
        id=job.workflow_id.removeprefix("batch/"),
        workflow_id=job.workflow_id,
        run_id=job.run_id,
        app=job.app,
        owner=job.owner,
        queue=job.queue,
        labels=job.spec.get("labels", {}),
        capacity_group=job.capacity_group,
        priority=job.priority,
        size=job.size,
        state=BatchState.RUNNING if running else job.state,
        image=job.image,
        counts=children.counts(session, job),
        attempts=children.total_attempts(session, job),
        waiting=children.oldest_wait(session, job) if running else None,
        created_at=job.created_at,
        finished_at=job.finished_at,
        links=links_of(settings, job.workflow_id, job.run_id),
    )


def event_document(row: EventRow) -> EventDocument:
    return EventDocument.model_validate(row, from_attributes=True)


def task_change(row: EventRow) -> TaskChange:
    """What an event of a task tells."""
    assert row.seq is not None
    data = row.data
    return TaskChange(
        seq=row.seq,
        at=row.at,
        task_id=row.subject.removeprefix("task/"),
        workflow_id=row.subject,
        kind=row.kind,
        message=row.message,
        attempt=data.get("attempt"),
        state=data.get("state"),
        reason=data.get("reason") or data.get("code"),
        host_id=data.get("host"),
        exit_code=data.get("exitCode"),
    )
