"""Manifests of repositories, with their exact bytes and what they refer to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, bindparam, update
from sqlalchemy.orm import defer
from sqlmodel import Session, col, select

from fleetwide.errors import InvalidInput
from fleetwide.registry.manifests import ParsedManifest
from fleetwide.store import registry_blobs as blobs
from fleetwide.store import registry_tags as tags_store
from fleetwide.store.registry_removal import remove_manifests
from fleetwide.store.registry_repositories import count, id_of, lock_live, told
from fleetwide.store.registry_tables import (
    ManifestBlobRow,
    ManifestChildRow,
    ManifestRow,
    RepositoryBlobRow,
    RepositoryRow,
)
from fleetwide.store.tables import UtcDateTime
from fleetwide.store.upserts import Upsert

LIVE = "live"

# Built once: every push runs them.
_digests: BindParameter[Any] = bindparam("digests", expanding=True)
_KNOWN = select(ManifestRow.digest).where(
    ManifestRow.repository_id == bindparam("of_repository"), col(ManifestRow.digest).in_(_digests)
)
_INSERT = Upsert.into(
    ManifestRow,
    lambda insert: insert.on_conflict_do_nothing(
        index_elements=["repository_id", "digest"]
    ).returning(ManifestRow.digest),
)
_AGAIN = (
    update(ManifestRow)
    .where(
        col(ManifestRow.repository_id) == bindparam("of_repository"),
        col(ManifestRow.digest) == bindparam("manifest"),
    )
    .values(
        touched_at=bindparam("moment", type_=UtcDateTime),
        media_type=bindparam("its_type"),
        state=LIVE,
    )
)
_REFER = Upsert.into(
    ManifestBlobRow,
    lambda insert: insert.on_conflict_do_nothing(
        index_elements=["repository_id", "manifest", "blob"]
    ),
)
_INCLUDE = Upsert.into(
    ManifestChildRow,
    lambda insert: insert.on_conflict_do_nothing(
        index_elements=["repository_id", "parent", "child"]
    ),
)
_MEMBERS = select(RepositoryBlobRow.digest).where(
    RepositoryBlobRow.repository_id == bindparam("of_repository"),
    col(RepositoryBlobRow.digest).in_(_digests),
)


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
    if not wanted:
        return []
    values = {"of_repository": repository_id, "digests": wanted}
    known = set(session.connection().execute(_KNOWN, values).scalars())
    return [digest for digest in wanted if digest not in known]


def record(session: Session, repository: RepositoryRow, parsed: ParsedManifest, push: Push) -> None:
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
    is_new = _insert(session, repository, parsed, push)
    data = {"digest": digest, "tag": " ".join(push.tags), "by": push.by}
    told(session, repository.name, "manifest-pushed", f"{digest} was pushed", at=now, **data)
    if push.tags:
        tags_store.move_all(session, repository, push.tags, digest, by=push.by, now=now)
    else:
        tags_store.review_untagged(session, id_of(repository), [digest], now=now)
    if not is_new:
        # Not before: the tags lock several manifests, this one among them, in order.
        values = {"manifest": digest, "moment": now, "its_type": parsed.media_type}
        session.connection().execute(_AGAIN, {**values, "of_repository": id_of(repository)})


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
    lacking = blobs.hold(session, repository, digests, now=push.at)
    children = [] if push.sparse else [one.digest for one in parsed.children]
    lacking += missing(session, id_of(repository), children)
    if lacking:
        raise ReferencesUnknown(repository.name, lacking)


def _insert(
    session: Session, repository: RepositoryRow, parsed: ParsedManifest, push: Push
) -> bool:
    """Whether the manifest is new to the repository."""
    repository_id = id_of(repository)
    row = {
        "repository_id": repository_id,
        "digest": parsed.digest,
        "media_type": parsed.media_type,
        "data": parsed.data,
        "size": len(parsed.data),
        "content_size": parsed.content_size,
        "subject": parsed.subject.digest if parsed.subject else None,
        "artifact_type": parsed.artifact_type,
        "annotations": dict(parsed.annotations),
        "state": LIVE,
        "pushed_by": push.by,
        "pushed_at": push.at,
        "touched_at": push.at,
        "pulls": 0,
    }
    if _INSERT.run(session, row).first() is None:
        return False
    _insert_references(session, repository_id, parsed)
    count(session, repository, manifests=1, manifest_bytes=len(parsed.data))
    return True


def _insert_references(session: Session, repository_id: int, parsed: ParsedManifest) -> None:
    held = {one.digest for one in parsed.blobs} | _foreign_here(session, repository_id, parsed)
    children = {one.digest for one in parsed.children}
    key = {"repository_id": repository_id}
    if held:
        rows = [{**key, "manifest": parsed.digest, "blob": digest} for digest in sorted(held)]
        _REFER.run(session, rows)
    if children:
        rows = [{**key, "parent": parsed.digest, "child": digest} for digest in sorted(children)]
        _INCLUDE.run(session, rows)


def _foreign_here(session: Session, repository_id: int, parsed: ParsedManifest) -> set[str]:
    """Layers that need not be here and are here all the same: then they stay."""
    foreign = [one.digest for one in parsed.foreign]
    if not foreign:
        return set()
    values = {"of_repository": repository_id, "digests": foreign}
    return set(session.connection().execute(_MEMBERS, values).scalars())
