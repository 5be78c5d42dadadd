"""What a collection would free now, with all that would follow from it; nothing is changed.

A real collection leaves a day between a manifest and what only it referred to. A plan looks
through to the end, so that people see how many bytes a collection is worth.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from fleetwide.models.registry_gc import GarbageReport, Kept, RepositoryShare
from fleetwide.registry.garbage import judge_blob, judge_manifest
from fleetwide.store import registry_facts as facts
from fleetwide.store import registry_reviews as reviews
from fleetwide.store.registry_facts import chunks
from fleetwide.store.registry_gc import grace
from fleetwide.store.registry_tables import (
    BlobRow,
    ManifestBlobRow,
    ManifestChildRow,
    ManifestRow,
    RepositoryRow,
    ReviewRow,
)

Told = Callable[[str], None]
LATER = timedelta()
"""What follows is looked at a day later, when nobody will have touched it for long enough."""


def plan(session: Session, *, now: datetime, told: Told) -> GarbageReport:
    """The report of the collection that would begin ``now``."""
    kept: Counter[Kept] = Counter()
    going: set[tuple[int, str]] = set()
    queued = _queued(session, now)
    for number, digests in sorted(queued.items()):
        if number != reviews.NO_REPOSITORY:
            told(f"{len(going)} manifests would go")
            found = _manifests(session, number, digests, now, kept)
            going |= {(number, digest) for digest in found}
    shares = _shares(session, going)
    removed, size = _blobs(session, queued[reviews.NO_REPOSITORY], going, now, (kept, shares))
    told(f"{len(removed)} blobs would go")
    return GarbageReport(
        dry_run=True,
        reviewed=sum(len(digests) for digests in queued.values()),
        manifests=len(going),
        blobs=len(removed),
        bytes=size,
        links=sum(one.blobs for one in shares.values()),
        kept=dict(kept),
        repositories=list(shares.values()),
    ).plus(GarbageReport())


def _queued(session: Session, now: datetime) -> dict[int, set[str]]:
    """Digests that are due by repository; blobs are of none."""
    query = select(ReviewRow.repository_id, ReviewRow.digest).where(
        ReviewRow.review_after <= now,
        col(ReviewRow.kind).in_((reviews.BLOB, reviews.MANIFEST)),
    )
    found: dict[int, set[str]] = defaultdict(set)
    for number, digest in session.exec(query):
        found[number].add(digest)
    return found


def _manifests(
    session: Session, number: int, digests: set[str], now: datetime, kept: Counter[Kept]
) -> set[str]:
    """Manifests of a repository that would go, and those that nothing would speak for then."""
    going: set[str] = set()
    asked = set(digests)
    while asked:
        found = set()
        for digest, known in facts.of_manifests(session, number, asked, going).items():
            verdict = judge_manifest(known, now, grace(session) if digest in digests else LATER)
            if verdict.kept is None:
                found.add(digest)
            elif digest in digests:
                kept[verdict.kept] += 1
        going |= found
        asked = _freed(session, number, found) - going
    return going


def _freed(session: Session, number: int, digests: Collection[str]) -> set[str]:
    """What manifests refer to as an index does, and what refers to them as their subject."""
    found: set[str] = set()
    for chunk in chunks(digests):
        children = select(ManifestChildRow.child).where(
            ManifestChildRow.repository_id == number, col(ManifestChildRow.parent).in_(chunk)
        )
        referrers = select(ManifestRow.digest).where(
            ManifestRow.repository_id == number, col(ManifestRow.subject).in_(chunk)
        )
        found |= {*session.exec(children), *session.exec(referrers)}
    return found


def _blobs_of(session: Session, manifests: Collection[tuple[int, str]]) -> set[str]:
    found: set[str] = set()
    for number, digests in _by_repository(manifests).items():
        for chunk in chunks(digests):
            query = select(ManifestBlobRow.blob).where(
                ManifestBlobRow.repository_id == number, col(ManifestBlobRow.manifest).in_(chunk)
            )
            found |= set(session.exec(query))
    return found


def _blobs(
    session: Session,
    digests: set[str],
    going: set[tuple[int, str]],
    now: datetime,
    into: tuple[Counter[Kept], dict[int, RepositoryShare]],
) -> tuple[set[str], int]:
    """Blobs that would go, and their bytes."""
    kept, shares = into
    removed: set[str] = set()
    freed = 0
    asked = digests | _blobs_of(session, going)
    sizes = _sizes(session, asked)
    for digest, known in facts.of_blobs(session, asked, going).items():
        verdict = judge_blob(known, now, grace(session) if digest in digests else LATER)
        if verdict.kept is None:
            removed.add(digest)
            freed += sizes[digest]
        else:
            kept[verdict.kept] += 1
        for number in verdict.unlink:
            one = shares.setdefault(number, RepositoryShare(repository=_name(session, number)))
            update = {"blobs": one.blobs + 1, "bytes": one.bytes + sizes[digest]}
            shares[number] = one.model_copy(update=update)
    return removed, freed


def _sizes(session: Session, digests: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for chunk in chunks(digests):
        query = select(BlobRow.digest, BlobRow.size).where(col(BlobRow.digest).in_(chunk))
        found |= dict(session.exec(query).all())
    return found


def _shares(session: Session, going: Collection[tuple[int, str]]) -> dict[int, RepositoryShare]:
    return {
        number: RepositoryShare(repository=_name(session, number), manifests=len(digests))
        for number, digests in _by_repository(going).items()
    }


def _by_repository(manifests: Collection[tuple[int, str]]) -> dict[int, set[str]]:
    found: dict[int, set[str]] = defaultdict(set)
    for number, digest in manifests:
        found[number].add(digest)
    return found


def _name(session: Session, number: int) -> str:
    row = session.get(RepositoryRow, number)
    return row.name if row is not None else f"repository {number}, which is gone"
