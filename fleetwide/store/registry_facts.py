"""What the index knows for and against manifests and blobs that may be garbage."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from fleetwide.registry.garbage import BlobFacts, ManifestFacts, Membership
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestBlobRow,
    ManifestChildRow,
    ManifestRow,
    RepositoryBlobRow,
    TagRow,
)
from fleetwide.store.registry_usage import in_use

CHUNK = 500
NOBODY: frozenset[str] = frozenset()


Heard = Callable[[], None]


def unheard() -> None:
    """For whoever need not be told that a long question goes on."""


def chunks(digests: Iterable[str]) -> Iterator[list[str]]:
    """``digests`` in order, as many at a time as one statement takes."""
    ordered = sorted(set(digests))
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


def of_manifests(
    session: Session,
    repository_id: int,
    digests: Collection[str],
    going: Collection[str] = NOBODY,
    heard: Heard = unheard,
) -> dict[str, ManifestFacts]:
    """Facts of those of ``digests`` that are manifests of the repository.

    What is ``going`` anyway speaks for nothing: an index for its manifests, a subject for what
    refers to it. ``heard`` is called between two of the statements that many digests take.
    """
    found = {}
    used = in_use(session, digests)
    for chunk in chunks(digests):
        heard()
        tagged = _tagged(session, repository_id, chunk)
        children = _children(session, repository_id, chunk, going)
        rows = _rows(session, repository_id, chunk)
        subjects = _living(session, repository_id, [row[1] for row in rows if row[1]], going)
        for digest, subject, touched_at in rows:
            found[digest] = ManifestFacts(
                tagged=digest in tagged,
                child=digest in children,
                subject_lives=subject in subjects,
                in_use=digest in used,
                touched_at=touched_at,
            )
    return found


def _rows(
    session: Session, repository_id: int, digests: list[str]
) -> Sequence[tuple[str, str | None, datetime]]:
    subject, touched_at = col(ManifestRow.subject), col(ManifestRow.touched_at)
    query = select(col(ManifestRow.digest), subject, touched_at).where(
        ManifestRow.repository_id == repository_id, col(ManifestRow.digest).in_(digests)
    )
    return session.exec(query).all()


def _tagged(session: Session, repository_id: int, digests: list[str]) -> set[str]:
    query = select(TagRow.digest).where(
        TagRow.repository_id == repository_id,
        col(TagRow.digest).in_(digests),
        col(TagRow.ended_at).is_(None),
    )
    return set(session.exec(query))


def _children(
    session: Session, repository_id: int, digests: list[str], going: Collection[str]
) -> set[str]:
    query = select(ManifestChildRow.child, ManifestChildRow.parent).where(
        ManifestChildRow.repository_id == repository_id, col(ManifestChildRow.child).in_(digests)
    )
    return {child for child, parent in session.exec(query) if parent not in going}


def _living(
    session: Session, repository_id: int, subjects: list[str], going: Collection[str]
) -> set[str]:
    query = select(ManifestRow.digest).where(
        ManifestRow.repository_id == repository_id, col(ManifestRow.digest).in_(subjects)
    )
    return set(session.exec(query)) - set(going) if subjects else set()


def of_blobs(
    session: Session,
    digests: Collection[str],
    going: Collection[tuple[int, str]] = frozenset(),
    heard: Heard = unheard,
) -> dict[str, BlobFacts]:
    """Facts of those of ``digests`` that are blobs.

    ``going``: manifests, each with its repository's id, whose references no longer count.
    ``heard`` is called between two of the statements that many digests take.
    """
    found = {}
    for chunk in chunks(digests):
        heard()
        references = _references(session, chunk, going)
        memberships = _memberships(session, chunk, references)
        manifests = _manifests(session, chunk, going)
        for digest, touched_at in session.exec(
            select(BlobRow.digest, BlobRow.touched_at).where(col(BlobRow.digest).in_(chunk))
        ):
            found[digest] = BlobFacts(
                memberships=memberships.get(digest, ()),
                is_manifest=digest in manifests,
                touched_at=touched_at,
            )
    return found


def _references(
    session: Session, digests: list[str], going: Collection[tuple[int, str]]
) -> set[tuple[int, str]]:
    """In which repositories a manifest refers to which of ``digests``."""
    repository, blob = col(ManifestBlobRow.repository_id), col(ManifestBlobRow.blob)
    if not going:
        pairs = select(repository, blob).where(blob.in_(digests)).distinct()
        return {(repository_id, digest) for repository_id, digest in session.exec(pairs)}
    query = select(repository, ManifestBlobRow.manifest, blob).where(blob.in_(digests))
    return {
        (repository_id, digest)
        for repository_id, manifest, digest in session.exec(query)
        if (repository_id, manifest) not in going
    }


def _memberships(
    session: Session, digests: list[str], references: Collection[tuple[int, str]]
) -> dict[str, list[Membership]]:
    columns = (
        RepositoryBlobRow.digest,
        RepositoryBlobRow.repository_id,
        RepositoryBlobRow.lease_until,
    )
    query = select(*columns).where(col(RepositoryBlobRow.digest).in_(digests))
    found: dict[str, list[Membership]] = {}
    for digest, repository_id, lease_until in session.exec(query):
        referenced = (repository_id, digest) in references
        one = Membership(repository_id, referenced=referenced, lease_until=lease_until)
        found.setdefault(digest, []).append(one)
    return found


def _manifests(
    session: Session, digests: list[str], going: Collection[tuple[int, str]]
) -> set[str]:
    query = select(ManifestRow.repository_id, ManifestRow.digest).where(
        col(ManifestRow.digest).in_(digests)
    )
    return {digest for row in session.exec(query) if (digest := row[1]) and tuple(row) not in going}
