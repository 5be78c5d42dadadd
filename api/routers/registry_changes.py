"""The registry's upkeep by people: undo, delete, retention, quotas."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response
from sqlmodel import Session
from starlette.concurrency import run_in_threadpool
from temporalio.common import WorkflowIDReusePolicy
from ulid import ULID

from api import lifecycles
from api.deps import LimitQuery, Platform, PlatformDep, WaitQuery
from api.examples import DELETION, NAMESPACE, REGISTRY_RETENTION, UNDO
from api.lifecycles import Start
from api.registry_documents import namespace_document, tag_moment
from api.registry_upkeep import RUN_PATTERN
from api.rights import (
    ADMINISTRATION,
    MAY_DELETE,
    MAY_PULL,
    MAY_PUSH,
    SIGNED_IN,
    VisitorDep,
)
from api.routers.registry import After, Tag, no_tag, required
from api.starts import answer, start_and_answer
from fleetwide.errors import Conflict, NotFound, ServiceUnavailable
from fleetwide.models.documents import Operation, Page
from fleetwide.models.registry_access import Action
from fleetwide.models.registry_documents import (
    DeletionRequest,
    NamespaceDocument,
    NamespaceSettings,
    TagMoment,
    UndoRequest,
)
from fleetwide.models.registry_policy import NAMESPACE_PATTERN
from fleetwide.models.registry_retention import (
    ApplyRequest,
    RegistryRetentionRequest,
    RetentionReport,
    ReviewedTag,
)
from fleetwide.models.texts import LINE_PATTERN
from fleetwide.registry.names import check_repository, check_tag
from fleetwide.registry.retention import Newest, judge, reviewed_tag
from fleetwide.store import (
    registry_namespaces,
    registry_reports,
    registry_tags,
    registry_visibility,
)
from fleetwide.store.registry_admission import Rules, check_tags
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_retention import facts_page, tag_times
from fleetwide.store.registry_tables import RepositoryRow, TagRow
from fleetwide.temporal import search_attributes as attributes

router = APIRouter(prefix="/v1/registry", tags=["registry"], dependencies=SIGNED_IN)

MAX_UNDO = 200
"""How far back a tag's meanings are looked through."""

Namespace = Annotated[str, Path(pattern=NAMESPACE_PATTERN, max_length=200)]
RunId = Annotated[str, Path(pattern=RUN_PATTERN)]
By = Annotated[str, Query(pattern=LINE_PATTERN, max_length=200, description="for whom")]
Why = Annotated[str, Query(pattern=LINE_PATTERN, max_length=1000, description="why")]


@router.post("/repositories/{name:path}/tags/{tag}/undo", dependencies=[MAY_PUSH])
def undo(
    platform: PlatformDep,
    visitor: VisitorDep,
    name: str,
    tag: Tag,
    request: Annotated[UndoRequest, Body(openapi_examples=UNDO)],
) -> TagMoment:
    """Let the tag mean again what it meant before, also when it was deleted.

    An immutable tag keeps its meaning; an image that was collected cannot come back.
    """
    policy = platform.registry_policy
    rules = Rules(policy.serving(), policy.source)
    with platform.store.write(reason=request.reason) as session:
        repository = required(session, name)
        digest = _meant_before(session, repository, check_tag(tag), request.to)
        check_tags(session, repository, [tag], digest, rules, by=None)
        if not registry_visibility.present(session, id_of(repository), [digest]):
            raise Conflict(
                f"{name}@{digest} is gone from the registry: it was deleted or collected",
                hint=f"fleetwide registry history {name}:{tag}",
            )
        by, now = visitor.signs(request.by), datetime.now(UTC)
        row = registry_tags.move(session, repository, tag, digest, by=by, now=now)
        return tag_moment(row, present=True)


def _meant_before(session: Session, repository: RepositoryRow, tag: str, wanted: str | None) -> str:
    rows = registry_tags.history(session, id_of(repository), tag, limit=MAX_UNDO)
    if not rows:
        raise no_tag(repository.name, tag)
    for row in _earlier(rows):
        if wanted in (None, row.digest):
            return row.digest
    what = f"never meant {wanted}" if wanted else "has meant nothing else before"
    raise Conflict(
        f"{repository.name}:{tag} {what}",
        hint=f"fleetwide registry history {repository.name}:{tag}",
    )


def _earlier(rows: list[TagRow]) -> list[TagRow]:
    """Meanings that undo may go back to: of a live tag those that differ from what it means."""
    newest = rows[0]
    return rows if newest.ended_at else [row for row in rows if row.digest != newest.digest]


@router.delete("/repositories/{name:path}/tags/{tag}", status_code=204, dependencies=[MAY_DELETE])
def delete_tag(
    platform: PlatformDep,
    visitor: VisitorDep,
    name: str,
    tag: Tag,
    by: By = "",
    reason: Why = "",
) -> None:
    """End the tag. Its image stays until it is collected, and `undo` brings it back until then."""
    with platform.store.write(reason=reason) as session:
        repository = required(session, name)
        who, now = visitor.signs(by), datetime.now(UTC)
        if not registry_tags.delete(session, repository, check_tag(tag), by=who, now=now):
            raise no_tag(name, tag)


@router.post("/deletions", status_code=202)
async def delete_repository(
    platform: PlatformDep,
    visitor: VisitorDep,
    response: Response,
    request: Annotated[DeletionRequest, Body(openapi_examples=DELETION)],
    wait: WaitQuery = 0,
) -> Operation:
    """Delete a repository with all that is in it; a cancel of the operation stops it."""
    visitor.require(request.repository, Action.DELETE)
    start = Start(
        workflow_type="RepositoryDeletion",
        workflow_id=f"registry-delete/{check_repository(request.repository)}",
        spec=visitor.signed(request),
        summary=f"delete the repository {request.repository}",
        # A name may be deleted, used again and deleted again.
        reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        attributes=attributes.pairs({attributes.PRODUCT: "registry"}),
    )
    return await start_and_answer(platform, response, start, wait)


@router.post("/retention", status_code=202, dependencies=[ADMINISTRATION])
async def retain(
    platform: PlatformDep,
    visitor: VisitorDep,
    response: Response,
    request: Annotated[RegistryRetentionRequest, Body(openapi_examples=REGISTRY_RETENTION)],
    wait: WaitQuery = 0,
) -> Operation:
    """Report which tags would go by the policy's rules; `apply` then lets them go."""
    start = Start(
        workflow_type="RegistryRetention",
        workflow_id=f"registry-retention/{str(ULID()).lower()}",
        spec=visitor.signed(request),
        summary="report which tags would go" + (", and let them go" if request.apply else ""),
        attributes=attributes.pairs({attributes.PRODUCT: "registry"}),
    )
    return await start_and_answer(platform, response, start, wait)


@router.get("/retention/{run_id}", dependencies=[ADMINISTRATION])
async def retention_report(platform: PlatformDep, run_id: RunId) -> RetentionReport:
    """The report as far as it is written, or what became of it.

    When its history is gone, or Temporal is away, what was kept of it is told.
    """
    workflow_id = f"registry-retention/{run_id}"
    try:
        client = await platform.temporal.client()
        async with lifecycles.translated(workflow_id):
            handle = client.get_workflow_handle(workflow_id)
            told = await handle.query("status", rpc_timeout=lifecycles.RPC_TIMEOUT)
    except (NotFound, ServiceUnavailable):
        kept = await run_in_threadpool(_kept_report, platform, workflow_id)
        if kept is None:
            raise
        return kept
    return RetentionReport.model_validate(told)


def _kept_report(platform: Platform, workflow_id: str) -> RetentionReport | None:
    with platform.store.read() as session:
        return registry_reports.last(session, workflow_id)


@router.post("/retention/{run_id}/apply", status_code=202, dependencies=[ADMINISTRATION])
async def apply_retention(
    platform: PlatformDep,
    visitor: VisitorDep,
    response: Response,
    run_id: RunId,
    request: Annotated[ApplyRequest, Body()],
) -> Operation:
    """Let the tags go that the report counts; what came into use since stays."""
    workflow_id = f"registry-retention/{run_id}"
    await lifecycles.update(platform, workflow_id, "apply", visitor.signed(request))
    return await answer(platform, response, workflow_id)


@router.get("/repositories/{name:path}/retention", dependencies=[MAY_PULL])
def review_tags(
    platform: PlatformDep, name: str, cursor: After = "", limit: LimitQuery = 50
) -> Page[ReviewedTag]:
    """What the policy's rules would make of each tag of the repository now."""
    rules, now = platform.registry_policy.serving().retention, datetime.now(UTC)
    with platform.store.read() as session:
        repository_id = id_of(required(session, name))
    newest = Newest(rules, name)
    for times in tag_times(platform.store, repository_id, now):
        newest.add(times)
    with platform.store.read() as session:
        facts = facts_page(session, repository_id, after=cursor, until=now, limit=limit)
    verdicts = judge(newest, facts, now, kept=newest.names())
    following = facts[-1].name if len(facts) == limit else None
    return Page(items=[reviewed_tag(one) for one in verdicts], next=following)


@router.get("/namespaces/{name}")
def get_namespace(platform: PlatformDep, visitor: VisitorDep, name: Namespace) -> NamespaceDocument:
    """A namespace: the first part of its repositories' names, and what they may hold."""
    visitor.require_namespace(name)
    with platform.store.read() as session:
        return namespace_document(session, name, platform.registry_policy.serving())


@router.put("/namespaces/{name}", dependencies=[ADMINISTRATION])
def set_namespace(
    platform: PlatformDep,
    visitor: VisitorDep,
    name: Namespace,
    settings: Annotated[NamespaceSettings, Body(openapi_examples=NAMESPACE)],
) -> NamespaceDocument:
    """Set what the namespace may hold; it goes before the policy file, also without a limit."""
    policy = platform.registry_policy.serving()
    with platform.store.write() as session:
        registry_namespaces.put(session, name, settings, by=visitor.signs(), now=datetime.now(UTC))
        return namespace_document(session, name, policy)


@router.delete("/namespaces/{name}", status_code=204, dependencies=[ADMINISTRATION])
def unset_namespace(platform: PlatformDep, visitor: VisitorDep, name: Namespace) -> None:
    """Let the policy file decide again."""
    with platform.store.write() as session:
        registry_namespaces.remove(session, name, by=visitor.signs(), now=datetime.now(UTC))
