"""How services, their copies, versions and history look on the command line."""

from fleetwide.cli import output
from fleetwide.cli.output import Card, Column, Format, Section, View
from fleetwide.models.deploys import PHASE_TEXT
from fleetwide.models.service_documents import (
    ActivityDocument,
    CopyDocument,
    DeployDocument,
    RevisionCount,
    RevisionDocument,
    ServiceDocument,
)

SERVICES = View[ServiceDocument](
    columns=(
        Column("SERVICE", lambda item: item.id),
        Column("STATE", lambda item: item.status.state),
        Column("READY", lambda item: f"{item.status.ready}/{item.status.capacity.desired}"),
        Column("REVISION", lambda item: item.status.revision),
        Column("DEPLOY", lambda item: item.status.deploy.phase if item.status.deploy else None),
        Column("WAITS FOR", lambda item: item.status.waiting.code if item.status.waiting else None),
        Column("APP", lambda item: item.app),
        Column("OWNER", lambda item: item.owner or None, wide=True),
        Column("IMAGE", lambda item: item.spec.container.image, wide=True),
        Column("VERSION", lambda item: item.status.version, wide=True),
    ),
    name=lambda item: item.id,
)
COPIES = View[CopyDocument](
    columns=(
        Column("TASK", lambda item: item.task_id),
        Column("INDEX", lambda item: item.index),
        Column("REVISION", lambda item: item.revision),
        Column("STATE", lambda item: item.state),
        Column("READY", lambda item: "yes" if item.ready else None),
        Column("HOST", lambda item: item.host_id),
        Column("REASON", lambda item: item.reason),
        Column("CREATED", lambda item: item.created_at),
        Column("ENDED", lambda item: item.ended_at, wide=True),
        Column("ZONE", lambda item: item.zone or None, wide=True),
        Column("MESSAGE", lambda item: item.message or None, wide=True),
    ),
    name=lambda item: item.task_id,
)
REVISIONS = View[RevisionDocument](
    columns=(
        Column("REVISION", lambda item: item.number),
        Column("VERDICT", lambda item: item.verdict),
        Column("IMAGE", lambda item: item.spec.container.image),
        Column("BY", lambda item: item.by or None),
        Column("AT", lambda item: item.at),
        Column("REASON", lambda item: item.reason or None),
        Column("WHY", lambda item: item.verdict_reason or None, wide=True),
    ),
    name=lambda item: str(item.number),
)
ACTIVITY = View[ActivityDocument](
    columns=(
        Column("AT", lambda item: item.at),
        Column("WHAT", lambda item: item.kind),
        Column("BY", lambda item: item.by or None),
        Column("SENTENCE", lambda item: item.sentence),
        Column("REASON", lambda item: item.reason or None),
        Column("NUMBERS", lambda item: _numbers(item) or None, wide=True),
    ),
    name=lambda item: str(item.number),
)
_COUNTS = (
    Column[RevisionCount]("REVISION", lambda item: item.revision),
    Column[RevisionCount]("READY", lambda item: item.ready),
    Column[RevisionCount]("LIVE", lambda item: item.live),
    Column[RevisionCount]("WANTED", lambda item: item.wanted),
)


def _numbers(item: ActivityDocument) -> str:
    return " ".join(f"{name}={value:g}" for name, value in item.numbers.items())


def _told(deploy: DeployDocument) -> str:
    failed = f", {deploy.failed} copies have failed" if deploy.failed else ""
    versions = f"revision {deploy.to_revision}"
    if deploy.from_revision is not None:
        versions = f"revision {deploy.from_revision} to {deploy.to_revision}"
    what = f"{deploy.number} ({deploy.strategy}, {versions})"
    return f"{what} is {deploy.phase}: {PHASE_TEXT[deploy.phase]}{failed}"


def show_service(service: ServiceDocument, style: Format) -> None:
    """One service, with its copies counted by revision."""
    status = service.status
    capacity, deploy = status.capacity, status.deploy
    rows = (
        ("service", service.id),
        ("state", status.state),
        (
            "copies",
            f"{status.ready} of {capacity.desired} ready ({capacity.min} to {capacity.max})",
        ),
        ("waits for", status.waiting.sentence if status.waiting else None),
        ("deploy", _told(deploy) if deploy else None),
        ("why", deploy.reason or None if deploy else None),
        ("revision", status.revision),
        ("version", status.version),
        ("image", service.spec.container.image),
        ("app", service.app),
        ("owner", service.owner or None),
        ("scales itself", "yes" if status.enabled else "no"),
        ("created", service.created_at),
    )
    section = Section("copies", output.table_lines(status.by_revision, _COUNTS))
    output.record(service, Card(service.id, rows, [section] if status.by_revision else ()), style)
