"""Garbage collection as it is carried out: decisions in the index first, then the storage."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import TypeVar

from fleetwide.models.registry_gc import (
    BatchDone,
    GarbageBatch,
    GarbageReport,
    Kept,
    RepositoryShare,
)
from fleetwide.providers.registry_storage import RegistryStorage, StoredUpload
from fleetwide.store import registry_gc, registry_gc_storage, registry_reviews
from fleetwide.store.registry_gc import Outcome
from fleetwide.store.registry_gc_storage import Hands, Revision
from fleetwide.store.registry_tables import ReviewRow
from fleetwide.store.session import Store

DECIDED_AT_ONCE = 100
"""Whoever pushes waits for one transaction, never for a whole batch."""
REMOVED_AT_ONCE = 25
"""Fewer, for the storage is asked for each."""
REPOSITORIES_AT_A_TIME = 200
SLEEP_SECONDS = 1.0

Told = Callable[[str], None]
Thing = TypeVar("Thing")


class Pace:
    """Lets so many things through in a second."""

    def __init__(self, per_second: float) -> None:
        self._every = 1 / per_second
        self._next = time.monotonic()

    def wait(self, count: int, told: Callable[[], None]) -> None:
        """Sleep until ``count`` things more may have been done; ``told`` is called meanwhile."""
        # What was lost by being slow is not made up for in a burst.
        self._next = max(self._next, time.monotonic() - 1.0) + count * self._every
        told()
        while (left := self._next - time.monotonic()) > 0:
            time.sleep(min(left, SLEEP_SECONDS))
            told()


@dataclass
class _Tally:
    """What a batch has done so far."""

    reviewed: int = 0
    manifests: Counter[str] = field(default_factory=Counter)
    """By repository."""
    links: Counter[str] = field(default_factory=Counter)
    link_bytes: Counter[str] = field(default_factory=Counter)
    blobs: int = 0
    bytes: int = 0
    kept: Counter[Kept] = field(default_factory=Counter)

    def note(self, outcome: Outcome) -> None:
        self.kept.update(outcome.kept)
        for repository, _, size in outcome.unlinked:
            self.links[repository] += 1
            self.link_bytes[repository] += size

    def report(self) -> GarbageReport:
        names = sorted({*self.manifests, *self.links})
        return GarbageReport(
            reviewed=self.reviewed,
            manifests=self.manifests.total(),
            blobs=self.blobs,
            bytes=self.bytes,
            links=self.links.total(),
            kept=dict(self.kept),
            repositories=[
                RepositoryShare(
                    repository=name,
                    manifests=self.manifests[name],
                    blobs=self.links[name],
                    bytes=self.link_bytes[name],
                )
                for name in names
            ],
        )

    def sentence(self) -> str:
        gone = f"{self.manifests.total()} manifests and {self.blobs} blobs removed"
        return f"{self.reviewed} reviewed, {gone}"


@dataclass(frozen=True)
class Collector:
    """One batch after the other; each step can be repeated, wherever the one before stopped.

    ``lease``: how long after a push has begun it may still write to Distribution.
    """

    store: Store
    storage: RegistryStorage
    lease: timedelta
    upload_age: timedelta

    def reviews(self, batch: GarbageBatch, told: Told) -> BatchDone:
        """Look at what is due, and remove what nobody needs."""
        now = datetime.now(UTC)
        with self.store.read() as session:
            rows = registry_gc.due(session, now, batch.limit)
        tally, pace = _Tally(), Pace(batch.per_second)
        kinds: dict[str, list[ReviewRow]] = defaultdict(list)
        for row in rows:
            kinds[row.kind].append(row)
        for work in (
            self._manifests(kinds[registry_reviews.MANIFEST], tally),
            self._revisions(kinds[registry_gc.REVISION]),
            self._blobs(kinds[registry_reviews.BLOB], tally),
            self._links(kinds[registry_gc.LINK]),
        ):
            for count in work:
                tally.reviewed += count
                pace.wait(count, lambda: told(tally.sentence()))
        return BatchDone(report=tally.report(), more=bool(rows))

    def _manifests(self, rows: Sequence[ReviewRow], tally: _Tally) -> Iterator[int]:
        by_repository: dict[int, list[ReviewRow]] = defaultdict(list)
        for row in rows:
            by_repository[row.repository_id].append(row)
        for number, mine in sorted(by_repository.items()):
            name = self._name(number)
            for part in _parts(mine, DECIDED_AT_ONCE):
                with self.store.write() as session:
                    outcome = registry_gc.collect_manifests(
                        session, number, part, now=datetime.now(UTC)
                    )
                tally.note(outcome)
                tally.manifests[name] += len(outcome.removed)
                yield len(part)

    def _name(self, number: int) -> str:
        with self.store.read() as session:
            return registry_gc.name_of(session, number)

    def _revisions(self, rows: Sequence[ReviewRow]) -> Iterator[int]:
        for part in _parts(rows, DECIDED_AT_ONCE):
            now = datetime.now(UTC)
            with self.store.read() as session:
                wanted = registry_gc_storage.revisions(session, part)
            laters = [self._align(row, one, now) for row, one in zip(part, wanted, strict=True)]
            with self.store.write() as session:
                registry_gc.settle(session, zip(part, laters, strict=True))
            yield len(part)

    def _align(self, row: ReviewRow, wanted: Revision | None, now: datetime) -> datetime | None:
        """Bring a manifest's link in line with the index; when to look again."""
        if wanted is None:
            return None
        if wanted.data is not None:
            self._restore(wanted.repository, row.digest, wanted.data)
            return None
        self.storage.unlink_revision(wanted.repository, row.digest)
        # A push that had written its manifest there may record it only after this.
        return now + self.lease if row.tries == 0 else None

    def _restore(self, repository: str, digest: str, data: bytes) -> None:
        known = self.storage.revision(repository, digest)
        if known is None or self.storage.blob(digest) is None:
            self.storage.put_manifest(repository, digest, data)

    def _blobs(self, rows: Sequence[ReviewRow], tally: _Tally) -> Iterator[int]:
        for part in _parts(sorted(rows, key=lambda row: row.digest), DECIDED_AT_ONCE):
            with self.store.write() as session:
                outcome = registry_gc.collect_blobs(session, part, now=datetime.now(UTC))
            tally.note(outcome)
            touched = {*outcome.removed, *(one[1] for one in outcome.unlinked)}
            self._finish(sorted(touched), tally)
            yield len(part)

    def _links(self, rows: Sequence[ReviewRow]) -> Iterator[int]:
        for part in _parts(sorted(rows, key=lambda row: row.digest), DECIDED_AT_ONCE):
            self._finish(sorted({row.digest for row in part}), _Tally())
            yield len(part)

    def _finish(self, digests: Sequence[str], tally: _Tally) -> None:
        """Carry out what was decided of blobs, a few at a time and in the order of all locks."""
        hands = Hands(self.storage.unlink_layer, self.storage.remove_blob)
        for part in _parts(digests, REMOVED_AT_ONCE):
            with self.store.write() as session:
                gone = registry_gc_storage.finish_blobs(session, part, hands)
            tally.blobs += len(gone)
            tally.bytes += sum(gone.values())
            with self.store.read() as session:
                back = list(registry_gc_storage.manifests_among(session, gone))
            for digest, data in back:  # pushed again, by somebody who found the bytes there
                self.storage.put_blob(digest, [data])

    def leftovers(self, batch: GarbageBatch, told: Told) -> BatchDone:
        """Remove uploads that nobody went on with, and folders of repositories without a file.

        A dry run counts them.
        """
        uploads, empty, cursor = 0, 0, batch.cursor
        pace = Pace(batch.per_second)
        listing = partial(told, f"listing repositories from behind {cursor or 'the first'}")
        found = self.storage.repositories(batch.cursor, listing)
        names = list(islice(found, REPOSITORIES_AT_A_TIME))
        for name in names:
            for upload in self._stale(name):
                if not batch.dry_run:
                    self.storage.remove_upload(upload)
                uploads += 1
                told(f"{uploads} old uploads, in {name}")
            empty += self._is_empty(name, batch)
            cursor = name
            pace.wait(1, partial(told, f"{uploads} old uploads, at {name}"))
        report = GarbageReport(uploads=uploads, empty=empty)
        return BatchDone(report=report, more=len(names) == REPOSITORIES_AT_A_TIME, cursor=cursor)

    def _stale(self, repository: str) -> Iterable[StoredUpload]:
        before = datetime.now(UTC) - self.upload_age
        return [one for one in self.storage.uploads(repository) if one.touched_at < before]

    def _is_empty(self, name: str, batch: GarbageBatch) -> bool:
        """Whether nobody knows the repository and it has no file; then its folders go."""
        with self.store.read() as session:
            if registry_gc.is_known(session, name):
                return False
        if batch.dry_run:
            return self.storage.is_empty(name)
        return self.storage.remove_if_empty(name)


def _parts(things: Sequence[Thing], size: int) -> Iterator[Sequence[Thing]]:
    for start in range(0, len(things), size):
        yield things[start : start + size]
