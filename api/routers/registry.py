"""The registry: what is hosted, what a reference means now, and what it meant before."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query
from pydantic import AwareDatetime
from sqlmodel import Session

from api.deps import LimitQuery, PlatformDep
from api.examples import RESOLVE
from api.registry_documents import (
    find_manifest,
    manifest_document,
    repository_document,
    tag_document,
    tag_moment,
)
from api.rights import MAY_PULL, SIGNED_IN, VisitorDep
from fleetwide.errors import NotFound
from fleetwide.models.documents import Page
from fleetwide.models.registry_access import Action, OwnRights
from fleetwide.models.registry_documents import (
    ManifestDocument,
    Repository,
    ResolvedReference,
    ResolvedReferences,
    ResolveRequest,
    TagDocument,
    TagMoment,
    Usage,
    UsageBy,
    UsageReport,
)
from fleetwide.models.registry_policy import RegistryPolicy
from fleetwide.registry.names import check_repository, check_tag
from fleetwide.registry.references import ImageReference, parse_reference
from fleetwide.registry.referrers import is_referrers_tag
from fleetwide.store import (
    registry_repositories,
    registry_search,
    registry_tags,
    registry_visibility,
)
from fleetwide.store.registry_admission import quota_of
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_tables import NamespaceRow, RepositoryRow, TagRow
from fleetwide.store.registry_usage import in_use
from fleetwide.store.registry_visibility import Sums

router = APIRouter(prefix="/v1/registry", tags=["registry"], dependencies=SIGNED_IN)

MAX_HISTORY = 200
MAX_CURSOR = 255

After = Annotated[str, Query(max_length=MAX_CURSOR, description="next of the page before")]
Search = Annotated[str, Query(min_length=1, max_length=MAX_CURSOR, description="part of a name")]
Tag = Annotated[str, Path(max_length=128)]
Moment = Annotated[AwareDatetime | None, Query(description="a time with its zone; unset: now")]


@router.get("/whoami")
def whoami(visitor: VisitorDep) -> OwnRights:
    """Who the caller is, and what they may do."""
    return OwnRights(
        account=visitor.name,
        kind=visitor.kind,
        grants=list(visitor.grants),
        administers=visitor.administers,
    )


@router.get("/repositories")
def list_repositories(
    platform: PlatformDep, visitor: VisitorDep, cursor: After = "", limit: LimitQuery = 50
) -> Page[Repository]:
    """The repositories that the caller may pull, by name."""
    with platform.store.read() as session:
        rows = registry_repositories.page(
            session, after=cursor, limit=limit, prefixes=visitor.lists
        )
    return _repositories(rows, limit)


@router.get("/search")
def search(
    platform: PlatformDep,
    visitor: VisitorDep,
    q: Search,
    cursor: After = "",
    limit: LimitQuery = 50,
) -> Page[Repository]:
    """Repositories that the caller may pull and that have the text in their names, by name.

    One answer looks at 10,000 names at most, so it may hold fewer than there are, or none, and
    have a `next` all the same.
    """
    with platform.store.read() as session:
        found = registry_search.search(
            session, q, after=cursor, limit=limit, prefixes=visitor.lists
        )
    return Page(items=[repository_document(row) for row in found.rows], next=found.next)


def _repositories(rows: Sequence[RepositoryRow], limit: int) -> Page[Repository]:
    following = rows[-1].name if len(rows) == limit else None
    return Page(items=[repository_document(row) for row in rows], next=following)


@router.get("/repositories/{name:path}/tags", dependencies=[MAY_PULL])
def list_tags(
    platform: PlatformDep,
    name: str,
    prefix: Annotated[str, Query(max_length=128, description="only tags that begin so")] = "",
    cursor: After = "",
    limit: LimitQuery = 50,
) -> Page[TagDocument]:
    """The tags of a repository, without those that only list what refers to an image."""
    policy = platform.registry_policy.serving()
    with platform.store.read() as session:
        row = required(session, name)
        found = registry_visibility.tagged_images(
            session, id_of(row), after=cursor, prefix=prefix, limit=limit
        )
    following = found[-1].name if len(found) == limit else None
    shown = [one for one in found if not is_referrers_tag(one.name)]
    return Page(items=[tag_document(policy, name, one) for one in shown], next=following)


@router.get("/repositories/{name:path}/tags/{tag}/history", dependencies=[MAY_PULL])
def tag_history(
    platform: PlatformDep,
    name: str,
    tag: Tag,
    limit: Annotated[int, Query(ge=1, le=MAX_HISTORY)] = 50,
) -> Page[TagMoment]:
    """What the tag has meant, newest first, and who changed it."""
    with platform.store.read() as session:
        row = required(session, name)
        rows = registry_tags.history(session, id_of(row), check_tag(tag), limit=limit)
        items = moments(session, row, rows)
    if not items:
        raise no_tag(name, tag)
    return Page(items=items)


@router.get("/repositories/{name:path}/tags/{tag}", dependencies=[MAY_PULL])
def tag_at(platform: PlatformDep, name: str, tag: Tag, at: Moment = None) -> TagMoment:
    """What the tag means now, or what it meant at a time."""
    with platform.store.read() as session:
        row = required(session, name)
        found = _tag(session, row, check_tag(tag), at)
        if found is None and at is None:
            raise no_tag(name, tag)
        if found is None:
            raise NotFound(
                f"{name}:{tag} meant nothing at that time",
                hint=f"fleetwide registry history {name}:{tag}",
            )
        [item] = moments(session, row, [found])
    return item


def _tag(
    session: Session, repository: RepositoryRow, tag: str, at: datetime | None
) -> TagRow | None:
    if at is None:
        return registry_tags.live(session, id_of(repository), tag)
    return registry_tags.at(session, id_of(repository), tag, at)


@router.get("/repositories/{name:path}/manifests/{reference}", dependencies=[MAY_PULL])
def get_manifest(
    platform: PlatformDep, name: str, reference: Annotated[str, Path(max_length=128)]
) -> ManifestDocument:
    """An image by tag or digest: its layers, who shares them, who pushed it, what needs it."""
    with platform.store.read() as session:
        repository = required(session, name)
        row = find_manifest(session, repository, reference)
        uses = in_use(session, [row.digest]).get(row.digest, [])
        return manifest_document(session, repository, row, [str(use) for use in uses])


@router.get("/resolve")
def resolve(platform: PlatformDep, visitor: VisitorDep, reference: str) -> ResolvedReference:
    """The digest that a tag names at this moment."""
    parsed = parse_reference(reference, "reference")
    visitor.require(parsed.repository, Action.PULL)
    digest = platform.images.resolve(parsed)
    return ResolvedReference(reference=reference, digest=digest, pinned=str(parsed.pinned(digest)))


@router.post("/resolve")
def resolve_many(
    platform: PlatformDep,
    visitor: VisitorDep,
    request: Annotated[ResolveRequest, Body(openapi_examples=RESOLVE)],
) -> ResolvedReferences:
    """The digests of up to 500 references; each answer stands for itself.

    `ImageNotFound` and `Denied` are final; `RegistryUnavailable` says that nobody can tell now.
    """

    def check(reference: ImageReference) -> None:
        visitor.require(reference.repository, Action.PULL)

    return ResolvedReferences(items=platform.images.resolve_all(request.references, check))


@router.get("/usage")
def usage(
    platform: PlatformDep,
    visitor: VisitorDep,
    by: UsageBy = UsageBy.NAMESPACE,
    name: Annotated[str, Query(max_length=MAX_CURSOR)] = "",
    cursor: After = "",
    limit: LimitQuery = 50,
) -> UsageReport:
    """What namespaces or owners hold; an owner is who pushed to a repository first.

    Only repositories that the caller may pull count; `stored` is told to who may pull all.
    """
    policy = platform.registry_policy.serving()
    shown = visitor.lists
    with platform.store.read() as session:
        found = registry_visibility.usage(
            session,
            by_owner=by is UsageBy.OWNER,
            after=cursor,
            name=name,
            limit=limit,
            prefixes=shown,
        )
        items = [_usage(session, one, by, policy) for one in found]
        size = registry_visibility.held_bytes(session, shown)
        stored = registry_visibility.stored_bytes(session) if shown is None else None
    following = items[-1].name if len(items) == limit else None
    return UsageReport(items=items, next=following, size=size, stored=stored)


def _usage(session: Session, sums: Sums, by: UsageBy, policy: RegistryPolicy) -> Usage:
    usage = Usage.model_validate(sums, from_attributes=True)
    if by is UsageBy.OWNER:
        return usage
    row = session.get(NamespaceRow, sums.name)
    quota = quota_of(session, sums.name, policy)
    return usage.model_copy(update={"quota": quota, "owner": row.owner if row else ""})


def required(session: Session, name: str) -> RepositoryRow:
    """The repository; a name that is none of the registry's is refused before it is looked for."""
    row = registry_repositories.find(session, check_repository(name))
    if row is None:
        raise NotFound(f"there is no repository {name}", hint="fleetwide registry list")
    return row


def moments(session: Session, repository: RepositoryRow, rows: Sequence[TagRow]) -> list[TagMoment]:
    """Intervals of a tag, with whether their images are still there."""
    present = registry_visibility.present(session, id_of(repository), [one.digest for one in rows])
    return [tag_moment(one, present=one.digest in present) for one in rows]


def no_tag(repository: str, tag: str) -> NotFound:
    return NotFound(f"{repository} has no tag {tag}", hint=f"fleetwide registry tags {repository}")
