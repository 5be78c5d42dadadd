"""Copies of images in other regions: what is missing there, blobs, manifests, tags, the books."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlmodel import Session
from temporalio import activity

from activities.progress import heartbeat
from fleetwide.errors import NotFound, RegistryUnavailable
from fleetwide.models.registry_regions import (
    Blob,
    CopiedBlob,
    CopiedManifests,
    CopyBlob,
    FindMissing,
    MissingBlobs,
    ReplicaFailure,
    ReplicateImage,
)
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.one_at_a_time import OneAtATime
from fleetwide.providers.registry_copies import Place, copy_blob
from fleetwide.providers.registry_regions import Regions
from fleetwide.registry.references import ImageReference
from fleetwide.registry.replication import copy_order
from fleetwide.store import (
    registry_manifests,
    registry_replicas,
    registry_repositories,
    registry_tags,
)
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_tables import ReplicaRow
from fleetwide.store.session import Store

PAGE = 100
"""Missing blobs that are told at a time."""
TAG_TRIES = 20
MAX_MESSAGE = 2000


class ReplicationActivities:
    """Reads this region's index and blobs, writes to other regions; one per process."""

    def __init__(self, store: Store, registry: RegistryClient, regions: Regions) -> None:
        self.store = store
        self.registry = registry
        self.regions = regions
        # An index and its children are replicated side by side, and share blobs.
        self._locks = OneAtATime()

    @activity.defn(name="registry.find_missing", no_thread_cancel_exception=True)
    def find_missing(self, request: FindMissing) -> MissingBlobs:
        """Which blobs of an image the region lacks, a page of them.

        What a manifest refers to is there when the manifest is. The first page books the copy as
        begun.

        Raises:
            NotFound: the image is not here any more, or there is no such region.
        """
        image = request.image
        target = self._target(image)
        if not request.after:
            self._book(image, registry_replicas.COPYING)
        lacking = [one for one in self._manifests(image) if not self._has(target, one)]
        with self.store.read() as session:
            blobs = registry_replicas.blobs_of(session, self._id(session, image), lacking)
        found: list[Blob] = []
        rest = [blob for blob in blobs if blob.digest > request.after]
        for number, blob in enumerate(rest):
            heartbeat(f"looking at blob {number + 1} of {len(rest)}", None)
            if not target.has_blob(blob.digest):
                found.append(blob)
            if len(found) == PAGE:
                break
        more = len(found) == PAGE
        return MissingBlobs(
            blobs=self._mountable(image, found),
            total=len(blobs),
            after=found[-1].digest if more else "",
            more=more,
        )

    @activity.defn(name="registry.copy_blob", no_thread_cancel_exception=True)
    def copy_blob(self, request: CopyBlob) -> CopiedBlob:
        """Let the region have one blob; another copy of the same blob is waited for.

        Raises:
            NotFound: the blob is not here any more.
            RegistryUnavailable: a registry does not answer, or the bytes are not the blob's.
        """
        image, blob = request.image, request.blob
        key = (image.region, image.repository, blob.digest)
        with self._locks.holding(key, lambda: heartbeat("waiting for the same blob", None)):
            sent = copy_blob(self._source(image), self._target(image), blob, heartbeat)
        return CopiedBlob(sent=sent)

    @activity.defn(name="registry.copy_manifests", no_thread_cancel_exception=True)
    def copy_manifests(self, image: ReplicateImage) -> CopiedManifests:
        """Let the region have the manifests, children before their index, referrers last.

        Raises:
            NotFound: the image is not here any more.
            RegistryUnavailable: the region does not answer, or refuses one.
        """
        target, sent = self._target(image), 0
        digests = self._manifests(image)
        for number, digest in enumerate(digests):
            heartbeat(f"manifest {number + 1} of {len(digests)}", number / len(digests))
            if not target.has_manifest(digest):
                sent += self._put(target, digest, ImageReference(image.repository, digest=digest))
        return CopiedManifests(manifests=len(digests), sent=sent)

    @activity.defn(name="registry.copy_tags", no_thread_cancel_exception=True)
    def copy_tags(self, image: ReplicateImage) -> list[str]:
        """Let the tags mean the image in the region that mean it here; book the copy as whole.

        Also tags that meant it once are looked at: who is killed between writing a tag and
        looking again leaves it there on an image that it does not mean here any more.

        Raises:
            RegistryUnavailable: the region does not answer, or refuses a tag.
        """
        target, moment = self._target(image), datetime.now(UTC)
        with self.store.read() as session:
            names = registry_replicas.tags_ever_of(session, self._id(session, image), image.digest)
        moved = [name for name in names if self._copy_tag(image, target, name)]
        self._book(image, registry_replicas.PRESENT, self._manifests(image), moment=moment)
        return moved

    @activity.defn(name="registry.book_failure")
    def book_failure(self, failure: ReplicaFailure) -> None:
        """Write that there is no copy, and why."""
        self._book(failure.image, registry_replicas.FAILED, message=failure.message)

    def _copy_tag(self, image: ReplicateImage, target: Place, name: str) -> bool:
        """Whether the tag means the image there in the end.

        The tag may move while it is copied, and that image's own replication may have been
        quicker: whoever has written looks again. What the tag means there beside this image is
        the business of others.
        """
        key = (image.region, image.repository, f"tag {name}")
        with self._locks.holding(key, lambda: heartbeat(f"waiting for tag {name}", None)):
            for _ in range(TAG_TRIES):
                heartbeat(f"tag {name}", None)
                meaning = self._meaning(image, name)
                there = target.tag(name) if meaning is not None else None
                if meaning is None or there == meaning:
                    return meaning == image.digest
                ours = image.digest in (meaning, there)
                if not ours or (meaning != image.digest and not target.has_manifest(meaning)):
                    return False
                self._put(target, meaning, ImageReference(image.repository, tag=name))
        raise RegistryUnavailable(f"tag {name} of {image.repository} moves all the time")

    def _meaning(self, image: ReplicateImage, tag: str) -> str | None:
        with self.store.read() as session:
            row = registry_tags.live(session, self._id(session, image), tag)
            return row.digest if row else None

    def _put(self, target: Place, digest: str, selector: ImageReference) -> int:
        """Send a manifest; 0 for one that was deleted here meanwhile."""
        with self.store.read() as session:
            repository = registry_repositories.require(session, target.repository)
            row = registry_manifests.find(session, id_of(repository), digest)
        if row is None:
            return 0
        target.put(selector, row.data, row.media_type)
        return 1

    def _manifests(self, image: ReplicateImage) -> list[str]:
        with self.store.read() as session:
            repository_id = self._id(session, image)
            found = copy_order(
                image.digest, lambda digest: registry_replicas.node(session, repository_id, digest)
            )
        if not found:
            raise NotFound(f"there is no manifest {image.digest} in {image.repository}")
        return found

    def _has(self, target: Place, digest: str) -> bool:
        heartbeat("looking which manifests are there", None)
        return target.has_manifest(digest)

    def _mountable(self, image: ReplicateImage, blobs: Sequence[Blob]) -> list[Blob]:
        with self.store.read() as session:
            digests = [blob.digest for blob in blobs]
            sources = registry_replicas.mount_sources(session, image.region, digests)
        return [blob.model_copy(update={"mount_from": sources.get(blob.digest)}) for blob in blobs]

    def _id(self, session: Session, image: ReplicateImage) -> int:
        return id_of(registry_repositories.require(session, image.repository))

    def _source(self, image: ReplicateImage) -> Place:
        return Place(self.registry, image.repository)

    def _target(self, image: ReplicateImage) -> Place:
        return Place(self.regions.region(image.region), image.repository)

    def _book(
        self,
        image: ReplicateImage,
        state: str,
        digests: Sequence[str] | None = None,
        *,
        message: str = "",
        moment: datetime | None = None,
    ) -> None:
        row = ReplicaRow(
            repository=image.repository,
            digest=image.digest,
            region=image.region,
            state=state,
            message=message[:MAX_MESSAGE],
            workflow_id=image.workflow_id,
            updated_at=moment or datetime.now(UTC),
        )
        with self.store.write() as session:
            registry_replicas.book(session, row, digests)
