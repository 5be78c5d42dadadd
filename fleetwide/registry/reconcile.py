"""How the index and Distribution's storage differ: a comparison of two views, without I/O.

The index is right about what it knows. What the storage alone has was written behind the
gateway's back, or by a gateway that was killed between Distribution and the index; what the index
alone has was lost or removed behind its back.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fleetwide.models.registry_gc import Difference, Found


@dataclass(frozen=True)
class Meaning:
    """What a tag means on one side, and since when."""

    digest: str
    since: datetime


@dataclass(frozen=True)
class IndexView:
    """A repository as the index has it."""

    tags: Mapping[str, Meaning] = field(default_factory=dict)
    ended: Mapping[str, Meaning] = field(default_factory=dict)
    """The last meaning of tags that mean nothing now; ``since`` is when they ended."""
    manifests: frozenset[str] = frozenset()
    blobs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class StorageView:
    """A repository as Distribution serves it."""

    tags: Mapping[str, Meaning] = field(default_factory=dict)
    manifests: frozenset[str] = frozenset()
    layers: frozenset[str] = frozenset()


def compare(index: IndexView, storage: StorageView, settled: datetime) -> list[Found]:
    """All differences, in the order in which they are best mended: what is referred to first.

    Tags that either side wrote after ``settled`` are left for the next time: their push may be
    under way. So are the rest's newest, by whoever mends: it looks at each again.
    """
    return [
        *_only(Difference.MISSING_LINK, index.blobs - storage.layers),
        *_only(Difference.UNKNOWN_LINK, storage.layers - index.blobs),
        *_only(Difference.MISSING_MANIFEST, index.manifests - storage.manifests),
        *_only(Difference.UNKNOWN_MANIFEST, storage.manifests - index.manifests),
        *_tags(index, storage, settled),
    ]


def _only(kind: Difference, digests: frozenset[str]) -> Iterator[Found]:
    for digest in sorted(digests):
        yield Found(kind=kind, name=digest)


def _tags(index: IndexView, storage: StorageView, settled: datetime) -> Iterator[Found]:
    for name in sorted({*index.tags, *storage.tags}):
        ours, theirs = index.tags.get(name), storage.tags.get(name)
        times = [one.since for one in (ours, theirs) if one is not None]
        if max(times) > settled:
            continue
        kind = _tag_difference(ours, theirs, index.ended.get(name))
        if kind is not None:
            yield Found(
                kind=kind,
                name=name,
                index=ours.digest if ours else "",
                storage=theirs.digest if theirs else "",
            )


def _tag_difference(
    ours: Meaning | None, theirs: Meaning | None, ended: Meaning | None
) -> Difference | None:
    if theirs is None:
        return Difference.MISSING_TAG
    if ours is None:
        # Written before the end: what was deleted here and could not be deleted there.
        known = ended is not None and theirs.since <= ended.since
        return Difference.ENDED_TAG if known else Difference.UNKNOWN_TAG
    if ours.digest == theirs.digest:
        return None
    # The newer side is right: an undo changes the index alone, a strange writer the storage.
    return Difference.MISSING_TAG if ours.since >= theirs.since else Difference.TAG_DIFFERS
