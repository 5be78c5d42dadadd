"""One repository of the index compared with the storage, a stretch of names at a time.

Listing a large one takes hours in a bucket: a stretch is all that memory has to hold, and where
one ended another activity can go on.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TypeVar

from sqlmodel import Session

from activities.progress import heartbeat
from fleetwide.models.registry_gc import Found
from fleetwide.providers.registry_storage import RegistryStorage, StoredTag
from fleetwide.registry.reconcile import IndexView, Meaning, StorageView, compare
from fleetwide.store import registry_gc, registry_repositories, registry_views
from fleetwide.store.registry_tables import RepositoryRow
from fleetwide.store.registry_views import Stretch
from fleetwide.store.session import Store

STRETCH = 2000
"""Names that are compared at a time."""
BUDGET_SECONDS = 600.0
LINKS, MANIFESTS, TAGS = "links", "manifests", "tags"
NEXT = {LINKS: MANIFESTS, MANIFESTS: TAGS, TAGS: ""}
"""In the order in which they are best mended: what is referred to first."""

Thing = TypeVar("Thing")
Here = Callable[[Session, RepositoryRow, Stretch], IndexView]


@dataclass(frozen=True)
class Comparison:
    """One repository; what was written after ``settled`` is left for the next time."""

    store: Store
    storage: RegistryStorage
    name: str
    settled: datetime

    def stretches(self, rest: str) -> Iterator[tuple[list[Found], str]]:
        """Differences from ``rest`` on, each list with where to go on: "" when all is compared."""
        deadline, at = time.monotonic() + BUDGET_SECONDS, rest or LINKS
        while at:
            part, _, after = at.partition(" ")
            differences, last = self._stretch(part, after)
            at = NEXT[part] if last is None else f"{part} {last}"
            yield differences, at
            if time.monotonic() > deadline:
                return

    def _stretch(self, part: str, after: str) -> tuple[list[Found], str | None]:
        """Differences behind ``after``, and up to which name; None for the part's end."""
        # The storage first: what is pushed meanwhile is then known to the index at least.
        if part == TAGS:
            tags = self._some(self.storage.tags(self.name, after, self._listing))
            stretch = _stretch(after, [tag.name for tag in tags])
            there = StorageView(tags={tag.name: _meaning(tag) for tag in tags})
            return self._compared(there, stretch, _tags_among(there)), stretch.last
        if part == MANIFESTS:
            digests = self._some(self.storage.revisions(self.name, after))
            stretch = _stretch(after, digests)
            there = StorageView(manifests=frozenset(digests))
            return self._compared(there, stretch, registry_views.manifests_in), stretch.last
        digests = self._some(self.storage.layers(self.name, after))
        stretch = _stretch(after, digests)
        there = StorageView(layers=frozenset(digests))
        return self._compared(there, stretch, registry_views.blobs_in), stretch.last

    def _some(self, things: Iterable[Thing]) -> list[Thing]:
        found = []
        for thing in islice(things, STRETCH):
            found.append(thing)
            self._listing()
        return found

    def _listing(self) -> None:
        heartbeat(f"listing {self.name}", None)

    def _compared(self, there: StorageView, stretch: Stretch, view: Here) -> list[Found]:
        with self.store.read() as session:
            if registry_gc.is_going_repository(session, self.name):
                return []
            repository = registry_repositories.find(session, self.name)
            here = IndexView() if repository is None else view(session, repository, stretch)
        return compare(here, there, self.settled)


def _stretch(after: str, names: Sequence[str]) -> Stretch:
    return Stretch(after, names[-1] if len(names) == STRETCH else None)


def _meaning(tag: StoredTag) -> Meaning:
    return Meaning(tag.digest, tag.modified_at)


def _tags_among(there: StorageView) -> Here:
    return lambda session, row, stretch: registry_views.tags_in(session, row, stretch, there.tags)
