"""Manifests of repositories, with their exact bytes and what they refer to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import defer
from sqlmodel import Session, col, select

from fleetwide.errors import InvalidInput
from fleetwide.registry.manifests import ParsedManifest
from fleetwide.store import registry_blobs as blobs
from fleetwide.store import registry_reviews as reviews
from fleetwide.store import registry_tags as tags_store
from fleetwide.store.registry_removal import remove_manifests
from fleetwide.store.registry_repositories import id_of, lock_live, told
from fleetwide.store.registry_tables import (
    ManifestBlobRow,
    ManifestChildRow,
    ManifestRow,
    RepositoryBlobRow,
    RepositoryRow,
)
from fleetwide.store.upserts import add_new

LIVE = "live"


class ReferencesUnknown(InvalidInput):
    """A manifest refers to blobs or manifests that its repository lacks (MANIFEST_BLOB_UNKNOWN)."""

    def __init__(self, repository: str, digests: Sequence[str]) -> None:
        super().__init__(f"{repository} has no {digests[0]} (of {len(digests)} that are missing)")
        self.digests = tuple(digests)


@dataclass(frozen=True)
class Push:
    """Who pushes a manifest, when, and under which tags."""

    by: str
    at: datetime
    tags: Sequence[str] = ()
    sparse: bool = False
    """An index that need not have its children here."""


def find(session: Session, repository_id: int, digest: str) -> ManifestRow | None:
    """The manifest with its bytes."""
    return session.get(ManifestRow, (repository_id, digest))


def missing(session: Session, repository_id: int, digests: Iterable[str]) -> list[str]:
    """Those of ``digests`` that are no manifests of this repository, in order."""
    wanted = sorted(set(digests))
    query = select(ManifestRow.digest).where(
        ManifestRow.repository_id == repository_id, col(ManifestRow.digest).in_(wanted)
    )
    known = set(session.exec(query))
    return [digest for digest in wanted if digest not in known]


def record(
    session: Session, repository: RepositoryRow, parsed: ParsedManifest, push: Push
) -> ManifestRow:
    """Note a manifest that Distribution has taken, and let the push's tags mean it.

    Everything that it refers to is looked for once more: since the push was checked, a lease may
    have run out.

    Raises:
        ReferencesUnknown: the repository lacks a blob or a child.
        NotFound, Conflict: the repository is gone, or is being deleted.
    """
    repository = lock_live(session, repository)
    _check_references(session, repository, parsed, push)
    digest, now = parsed.digest, push.at
    row = session.get(ManifestRow, (id_of(repository), digest))
    if row is None:
        row = _insert(session, repository, parsed, push)
        session.flush()
    data = {"digest": digest, "tag": " ".join(push.tags), "by": push.by}
    told(session, repository.name, "manifest-pushed", f"{digest} was pushed", at=now, **data)
    if push.tags:
        tags_store.move_all(session, repository, push.tags, digest, by=push.by, now=now)
    else:
        tags_store.review_untagged(session, id_of(repository), [digest], now=now)
    # Not before: the tags lock several manifests, this one among them, in order.
    row.touched_at = now
    row.media_type = parsed.media_type
    row.state = LIVE
    session.add(row)
    return row


def delete(
    session: Session, repository: RepositoryRow, digest: str, *, by: str, now: datetime
) -> bool:
    """Remove the manifest and its tags; False when there is none.

    An index that refers to it stays, and is sparse from then on. What it referred to, and what
    has it as its subject, is put up for review.
    """
    return bool(remove_manifests(session, repository, [digest], by=by, now=now))


@dataclass(frozen=True)
class ReferrersPage:
    """Which referrers are wanted: by digest from behind ``after``."""

    limit: int
    max_bytes: int
    """Of the manifests together; annotations may fill nearly all of each."""
    after: str = ""
    artifact_type: str | None = None


def referrers(
    session: Session, repository_id: int, subject: str, page: ReferrersPage
) -> tuple[list[ManifestRow], bool]:
    """Manifests whose subject is ``subject``, without bytes, and whether there are more.

    One comes at least where there is one, however large.
    """
    query = select(ManifestRow.digest, ManifestRow.size).where(
        ManifestRow.repository_id == repository_id,
        ManifestRow.subject == subject,
        ManifestRow.digest > page.after,
    )
    if page.artifact_type is not None:
        query = query.where(ManifestRow.artifact_type == page.artifact_type)
    query = query.order_by(col(ManifestRow.digest)).limit(page.limit + 1)
    found = list(session.exec(query))
    wanted = _fitting(found[: page.limit], page.max_bytes)
    rows = select(ManifestRow).where(
        ManifestRow.repository_id == repository_id, col(ManifestRow.digest).in_(wanted)
    )
    rows = rows.order_by(col(ManifestRow.digest))
    without = defer(ManifestRow.data)  # type: ignore[arg-type]
    return list(session.exec(rows.options(without))), len(wanted) < len(found)


def _fitting(sizes: Sequence[tuple[str, int]], max_bytes: int) -> list[str]:
    total, fitting = 0, list[str]()
    for digest, size in sizes:
        total += size
        if fitting and total > max_bytes:
            break
        fitting.append(digest)
    return fitting


def _check_references(
    session: Session, repository: RepositoryRow, parsed: ParsedManifest, push: Push
) -> None:
    digests = [one.digest for one in parsed.blobs]
    # The reference itself keeps them from now on; the lease need not grow.
    lacking = blobs.hold(session, repository, digests, now=push.at, lease_until=push.at)
    children = [] if push.sparse else [one.digest for one in parsed.children]
    lacking += missing(session, id_of(repository), children)
    if lacking:
        raise ReferencesUnknown(repository.name, lacking)


def _insert(
    session: Session, repository: RepositoryRow, parsed: ParsedManifest, push: Push
) -> ManifestRow:
    repository_id = id_of(repository)
    row = ManifestRow(
        repository_id=repository_id,
        digest=parsed.digest,
        media_type=parsed.media_type,
        data=parsed.data,
        size=len(parsed.data),
        content_size=parsed.content_size,
        subject=parsed.subject.digest if parsed.subject else None,
        artifact_type=parsed.artifact_type,
        annotations=dict(parsed.annotations),
        pushed_by=push.by,
        pushed_at=push.at,
        touched_at=push.at,
    )
    session.add(row)
    _insert_references(session, repository_id, parsed)
    repository.manifests += 1
    session.add(repository)
    return row


def _insert_references(session: Session, repository_id: int, parsed: ParsedManifest) -> None:
    held = {one.digest for one in parsed.blobs} | _foreign_here(session, repository_id, parsed)
    children = {one.digest for one in parsed.children}
    for start in _batches(held):
        rows = [
            {"repository_id": repository_id, "manifest": parsed.digest, "blob": digest}
            for digest in start
        ]
        add_new(session, ManifestBlobRow, rows, key=["repository_id", "manifest", "blob"])
    for start in _batches(children):
        rows = [
            {"repository_id": repository_id, "parent": parsed.digest, "child": digest}
            for digest in start
        ]
        add_new(session, ManifestChildRow, rows, key=["repository_id", "parent", "child"])


def _foreign_here(session: Session, repository_id: int, parsed: ParsedManifest) -> set[str]:
    """Layers that need not be here and are here all the same: then they stay."""
    query = select(RepositoryBlobRow.digest).where(
        RepositoryBlobRow.repository_id == repository_id,
        col(RepositoryBlobRow.digest).in_([one.digest for one in parsed.foreign]),
    )
    return set(session.exec(query)) if parsed.foreign else set()


def _batches(digests: Iterable[str]) -> list[list[str]]:
    ordered = sorted(digests)
    return [ordered[at : at + reviews.BATCH] for at in range(0, len(ordered), reviews.BATCH)]
