"""Copies of images in other regions: which there are, and what one of them consists of."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, or_
from sqlmodel import Session, col, delete, exists, func, select, update

from fleetwide.models.registry_regions import UPSTREAM, Blob
from fleetwide.registry.replication import Node
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestBlobRow,
    ManifestChildRow,
    ManifestRow,
    ReplicaRow,
    RepositoryRow,
    TagRow,
)
from fleetwide.store.upserts import add_new, insert

COPYING = "copying"
PRESENT = "present"
FAILED = "failed"
BATCH = 500
"""Values in one statement; the databases limit them."""
KEY = ["repository", "digest", "region"]


def book(
    session: Session,
    row: ReplicaRow,
    digests: Iterable[str] | None = None,
) -> None:
    """Write how a copy stands, for ``digests`` of its repository when others belong to it."""
    ordered = sorted(set(digests)) if digests is not None else [row.digest]
    for at in range(0, len(ordered), BATCH):
        part = ordered[at : at + BATCH]
        values = [{**row.model_dump(), "digest": digest} for digest in part]
        statement = insert(session, ReplicaRow).values(values)
        changed = {
            name: statement.excluded[name]
            for name in ("state", "message", "workflow_id", "updated_at")
        }
        session.execute(statement.on_conflict_do_update(index_elements=KEY, set_=changed))


def find(session: Session, repository: str, digest: str, region: str) -> ReplicaRow | None:
    return session.get(ReplicaRow, (repository, digest, region))


def of_digest(session: Session, repository: str, digest: str) -> list[ReplicaRow]:
    """Copies of one manifest, by region."""
    query = select(ReplicaRow).where(
        ReplicaRow.repository == repository,
        ReplicaRow.digest == digest,
        ReplicaRow.region != UPSTREAM,
    )
    return list(session.exec(query.order_by(ReplicaRow.region)))


def node(session: Session, repository_id: int, digest: str) -> Node | None:
    """A manifest's children and what refers to it; None when it is not here."""
    present = select(ManifestRow.digest).where(
        ManifestRow.repository_id == repository_id, ManifestRow.digest == digest
    )
    if session.exec(present).first() is None:
        return None
    children = select(ManifestChildRow.child).where(
        ManifestChildRow.repository_id == repository_id, ManifestChildRow.parent == digest
    )
    referrers = select(ManifestRow.digest).where(
        ManifestRow.repository_id == repository_id, ManifestRow.subject == digest
    )
    return Node(
        digest,
        tuple(session.exec(children.order_by(col(ManifestChildRow.child)))),
        tuple(session.exec(referrers.order_by(col(ManifestRow.digest)))),
    )


def blobs_of(session: Session, repository_id: int, manifests: Sequence[str]) -> list[Blob]:
    """The blobs that manifests refer to, each once, by digest."""
    found: dict[str, Blob] = {}
    for at in range(0, len(manifests), BATCH):
        query = (
            select(BlobRow.digest, BlobRow.size)
            .join(ManifestBlobRow, col(ManifestBlobRow.blob) == col(BlobRow.digest))
            .where(
                ManifestBlobRow.repository_id == repository_id,
                col(ManifestBlobRow.manifest).in_(manifests[at : at + BATCH]),
            )
        )
        for digest, size in session.exec(query):
            found[digest] = Blob(digest=digest, size=size)
    return [found[digest] for digest in sorted(found)]


def tags_ever_of(session: Session, repository_id: int, digest: str) -> list[str]:
    """The names of all tags that mean the manifest or meant it once."""
    of_it = select(TagRow.name).where(
        TagRow.repository_id == repository_id, TagRow.digest == digest
    )
    ended = col(TagRow.ended_at)
    # Apart, since each has an index of its own.
    found = (session.exec(of_it.where(one)) for one in (ended.is_(None), ended.is_not(None)))
    return sorted({name for names in found for name in names})


def mount_sources(session: Session, region: str, digests: Iterable[str]) -> dict[str, str]:
    """For each blob one repository whose copy in the region has it."""
    query = (
        select(ManifestBlobRow.blob, func.min(RepositoryRow.name))
        .join(RepositoryRow, col(RepositoryRow.id) == col(ManifestBlobRow.repository_id))
        .join(
            ReplicaRow,
            and_(
                col(ReplicaRow.repository) == col(RepositoryRow.name),
                col(ReplicaRow.digest) == col(ManifestBlobRow.manifest),
            ),
        )
        .where(
            col(ManifestBlobRow.blob).in_(list(digests)),
            ReplicaRow.region == region,
            ReplicaRow.state == PRESENT,
        )
        .group_by(col(ManifestBlobRow.blob))
    )
    return dict(session.exec(query).all())


def holders(session: Session, digest: str) -> list[tuple[str, str]]:
    """Where a blob is said to lie elsewhere: (region, repository), newest copy first."""
    query = (
        select(ReplicaRow.region, ReplicaRow.repository)
        .join(RepositoryRow, col(RepositoryRow.name) == col(ReplicaRow.repository))
        .join(
            ManifestBlobRow,
            and_(
                col(ManifestBlobRow.repository_id) == col(RepositoryRow.id),
                col(ManifestBlobRow.manifest) == col(ReplicaRow.digest),
            ),
        )
        .where(
            ManifestBlobRow.blob == digest,
            ReplicaRow.state == PRESENT,
            ReplicaRow.region != UPSTREAM,
        )
        .order_by(col(ReplicaRow.updated_at).desc())
    )
    return list(dict.fromkeys(session.exec(query).all()))


def lacking(
    session: Session, repository: RepositoryRow, region: str, after: str, limit: int
) -> list[str]:
    """Manifests from behind ``after`` whose copy is not whole or older than one of their tags."""
    newer_tag = exists().where(
        col(TagRow.repository_id) == col(ManifestRow.repository_id),
        col(TagRow.digest) == col(ManifestRow.digest),
        col(TagRow.ended_at).is_(None),
        col(TagRow.started_at) > col(ReplicaRow.updated_at),
    )
    query = (
        select(ManifestRow.digest)
        .outerjoin(
            ReplicaRow,
            and_(
                col(ReplicaRow.repository) == repository.name,
                col(ReplicaRow.digest) == col(ManifestRow.digest),
                col(ReplicaRow.region) == region,
            ),
        )
        .where(
            ManifestRow.repository_id == repository.id,
            ManifestRow.digest > after,
            or_(
                col(ReplicaRow.state).is_(None),
                col(ReplicaRow.state) != PRESENT,
                newer_tag,
            ),
        )
    )
    return list(session.exec(query.order_by(col(ManifestRow.digest)).limit(limit)))


def claim(
    session: Session, repository: str, digest: str, owner: str, *, now: datetime, life: timedelta
) -> bool:
    """Take it upon ``owner`` to fetch a digest from its upstream.

    False while somebody else does, who renews the claim by asking again before its ``life`` ends.
    """
    values = {
        "repository": repository,
        "digest": digest,
        "region": UPSTREAM,
        "state": COPYING,
        "message": "",
        "workflow_id": owner,
        "updated_at": now,
    }
    if add_new(session, ReplicaRow, [values], key=KEY):
        return True
    free = or_(col(ReplicaRow.workflow_id) == owner, col(ReplicaRow.updated_at) < now - life)
    taken = session.exec(
        update(ReplicaRow)
        .where(*_upstream(repository, digest), free)
        .values(workflow_id=owner, updated_at=now)
        .execution_options(synchronize_session=False)
    )
    return taken.rowcount > 0


def release(session: Session, repository: str, digest: str, owner: str) -> None:
    """End a claim, whatever came of it: others look for themselves."""
    session.exec(
        delete(ReplicaRow)
        .where(*_upstream(repository, digest), col(ReplicaRow.workflow_id) == owner)
        .execution_options(synchronize_session=False)
    )


def _upstream(repository: str, digest: str) -> tuple[ColumnElement[bool], ...]:
    return (
        col(ReplicaRow.repository) == repository,
        col(ReplicaRow.digest) == digest,
        col(ReplicaRow.region) == UPSTREAM,
    )
