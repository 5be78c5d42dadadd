"""What hosts tell of the health of attempts and of their extra containers: beside their states."""

from datetime import datetime
from typing import Any

from sqlmodel import Session

from fleetwide.models.hosts import ContainerReport
from fleetwide.store import events, jobs
from fleetwide.store.tables import AttemptRow, JobRow


def differs(row: AttemptRow, report: ContainerReport) -> bool:
    """Whether a report tells something of a live attempt that is not written yet."""
    if row.finished_at is not None or (report.health is None and not report.extra_containers):
        return False
    return (_told(row.health), row.extra_containers or []) != _stored(report)


def write(session: Session, report: ContainerReport, *, now: datetime) -> None:
    """Keep what a report tells; a change of the main container's health is an event."""
    row = jobs.find_attempt(session, report.key)
    if row is None or row.finished_at is not None:
        return
    known = row.health or {}
    before = known.get("status")
    health, row.extra_containers = _stored(report)
    row.health = None if health is None else {**health, "heard_at": _heard_at(known, health, now)}
    session.add(row)
    job = session.get(JobRow, row.job_id)
    if report.health is None or job is None or report.health.status == before:
        return
    said = f": {report.health.message}" if report.health.message else ""
    events.append(
        session,
        job.workflow_id,
        "health",
        f"attempt {row.attempt} is {report.health.status}{said}",
        at=now,
        data={"index": row.index, "attempt": row.attempt, "health": report.health.status},
    )


def _heard_at(known: dict[str, Any], health: dict[str, Any], now: datetime) -> str:
    """By the platform's clock: the host's own may be wrong."""
    same = (known.get("status"), known.get("since")) == (health["status"], health["since"])
    return str(known["heard_at"]) if same and "heard_at" in known else now.isoformat()


def _told(stored: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the host itself told of what is stored."""
    return {key: stored[key] for key in stored if key != "heard_at"} if stored else None


def _stored(report: ContainerReport) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    health = report.health.model_dump(mode="json", exclude={"heard_at"}) if report.health else None
    return health, [extra.model_dump(mode="json") for extra in report.extra_containers]
