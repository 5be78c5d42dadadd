"""What a collection would free now, with all that would follow from it; nothing is changed.

A real collection leaves a day between a manifest and what only it referred to. A plan looks
through to the end, so that people see how many bytes a collection is worth.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from fleetwide.models.registry_gc import Coming, GarbageReport, Kept, RepositoryShare
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
_JUDGED = col(ReviewRow.kind).in_((reviews.BLOB, reviews.MANIFEST))
LATER = timedelta()
"""What follows is looked at a day later, when nobody will have touched it for long enough."""


def plan_all(session: Session, *, now: datetime, told: Told) -> GarbageReport:
    """``plan`` for now, and what would come when all that waits is due, if nobody touches it."""
    report = plan(session, now=now, told=told)
    last = session.exec(select(func.max(ReviewRow.review_after)).where(_JUDGED)).one()
    if last is None or last <= now:
        return report
    then = plan(session, now=last, told=told)
    coming = Coming(
        manifests=then.manifests - report.manifests,
        blobs=then.blobs - report.blobs,
        bytes=then.bytes - report.bytes,
        by=last,
    )
    return report.model_copy(update={"coming": coming})


def plan(session: Session, *, now: datetime, told: Told) -> GarbageReport:
    """The report of the collection that would begin ``now``."""
    work = _Plan(session, now, told)
    queued = work.queued()
    for number, digests in sorted(queued.items()):
        if number != reviews.NO_REPOSITORY:
            found = work.manifests(number, digests)
            work.going |= {(number, digest) for digest in found}
    shares = _shares(session, work.going)
    removed = work.blobs(queued[reviews.NO_REPOSITORY], shares)
    return GarbageReport(
        dry_run=True,
        reviewed=sum(len(digests) for digests in queued.values()),
        manifests=len(work.going),
        blobs=len(removed),
        bytes=sum(removed.values()),
        links=sum(one.blobs for one in shares.values()),
        kept=dict(work.kept),
        repositories=list(shares.values()),
    ).plus(GarbageReport())


@dataclass
class _Plan:
    """One look through the queue, told of as it goes on."""

    session: Session
    now: datetime
    told: Told
    kept: Counter[Kept] = field(default_factory=Counter)
    going: set[tuple[int, str]] = field(default_factory=set)

    def _heard(self) -> None:
        self.told(f"{len(self.going)} manifests would go")

    def _chunks(self, digests: Iterable[str]) -> Iterator[list[str]]:
        for chunk in chunks(digests):
            self._heard()
            yield chunk

    def queued(self) -> dict[int, set[str]]:
        """Digests that are due by repository; blobs are of none."""
        query = select(ReviewRow.repository_id, ReviewRow.digest).where(
            ReviewRow.review_after <= self.now, _JUDGED
        )
        found: dict[int, set[str]] = defaultdict(set)
        for number, digest in self.session.exec(query):
            found[number].add(digest)
        return found

    def manifests(self, number: int, digests: set[str]) -> set[str]:
        """Manifests of a repository that would go, and those that nothing would speak for then."""
        going: set[str] = set()
        asked = set(digests)
        wait = grace(self.session)
        while asked:
            found = set()
            known = facts.of_manifests(self.session, number, asked, going, self._heard)
            for digest, one in known.items():
                verdict = judge_manifest(one, self.now, wait if digest in digests else LATER)
                if verdict.kept is None:
                    found.add(digest)
                elif digest in digests:
                    self.kept[verdict.kept] += 1
            going |= found
            asked = self._freed(number, found) - going
        return going

    def _freed(self, number: int, digests: Collection[str]) -> set[str]:
        """What manifests refer to as an index does, and what refers to them as their subject."""
        found: set[str] = set()
        for chunk in self._chunks(digests):
            children = select(ManifestChildRow.child).where(
                ManifestChildRow.repository_id == number, col(ManifestChildRow.parent).in_(chunk)
            )
            referrers = select(ManifestRow.digest).where(
                ManifestRow.repository_id == number, col(ManifestRow.subject).in_(chunk)
            )
            found |= {*self.session.exec(children), *self.session.exec(referrers)}
        return found

    def _held(self) -> set[str]:
        """Blobs of the manifests that would go."""
        found: set[str] = set()
        for number, digests in _by_repository(self.going).items():
            for chunk in self._chunks(digests):
                query = select(ManifestBlobRow.blob).where(
                    ManifestBlobRow.repository_id == number,
                    col(ManifestBlobRow.manifest).in_(chunk),
                )
                found |= set(self.session.exec(query))
        return found

    def blobs(self, digests: set[str], shares: dict[int, RepositoryShare]) -> dict[str, int]:
        """Bytes of the blobs that would go; ``shares`` gets what repositories lose."""
        removed: dict[str, int] = {}
        asked = digests | self._held()
        sizes = self._sizes(asked)
        known = facts.of_blobs(self.session, asked, self.going, self._heard)
        for digest, one in known.items():
            wait = grace(self.session) if digest in digests else LATER
            verdict = judge_blob(one, self.now, wait)
            if verdict.kept is None:
                removed[digest] = sizes[digest]
            else:
                self.kept[verdict.kept] += 1
            for number in verdict.unlink:
                self._lose(shares, number, sizes[digest])
        return removed

    def _lose(self, shares: dict[int, RepositoryShare], number: int, size: int) -> None:
        name = _name(self.session, number)
        share = shares.setdefault(number, RepositoryShare(repository=name))
        update = {"blobs": share.blobs + 1, "bytes": share.bytes + size}
        shares[number] = share.model_copy(update=update)

    def _sizes(self, digests: Iterable[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for chunk in self._chunks(digests):
            query = select(BlobRow.digest, BlobRow.size).where(col(BlobRow.digest).in_(chunk))
            found |= dict(self.session.exec(query).all())
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
