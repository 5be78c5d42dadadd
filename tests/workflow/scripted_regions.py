"""A replication worker whose other region is acted out."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from fleetwide.models.registry_regions import (
    Blob,
    CopiedBlob,
    CopiedManifests,
    CopyBlob,
    FindMissing,
    Followed,
    FollowPushes,
    MissingBlobs,
    ReplicaFailure,
    ReplicateImage,
)
from fleetwide.registry.digests import digest_of
from fleetwide.temporal.worker import WorkerRole, make_worker
from tests.workflow.world import World

BLOBS = tuple(Blob(digest=digest_of(bytes([n])), size=10) for n in range(3))


@dataclass
class ScriptedRegion:
    """Has nothing at first; remembers what came, in order."""

    steps: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    refuses: str = ""
    """The message by which the region refuses every blob."""
    pages: int = 1
    index_pages: int = 2
    """Pages of a look through the whole index."""
    flaky: set[str] = field(default_factory=set)
    """Digests whose first copy fails."""
    on_manifests: Callable[[], Any] | None = None
    followed: list[int | None] = field(default_factory=list)

    @activity.defn(name="registry.find_missing")
    async def find_missing(self, request: FindMissing) -> MissingBlobs:
        self.steps.append("find_missing")
        rest = [blob for blob in BLOBS if f"blob {blob.digest}" not in self.steps]
        page = rest[: 1 if self.pages > 1 else None]
        more = len(page) < len(rest)
        after = page[-1].digest if more else ""
        return MissingBlobs(blobs=page, total=len(BLOBS), after=after, more=more)

    @activity.defn(name="registry.copy_blob")
    async def copy_blob(self, request: CopyBlob) -> CopiedBlob:
        digest = request.blob.digest
        if self.refuses:
            raise ApplicationError(self.refuses, type="NotFound", non_retryable=True)
        if digest in self.flaky:
            self.flaky.discard(digest)
            raise ApplicationError("a short outage", type="RegistryUnavailable")
        self.steps.append(f"blob {digest}")
        return CopiedBlob(sent=request.blob.size)

    @activity.defn(name="registry.copy_manifests")
    async def copy_manifests(self, image: ReplicateImage) -> CopiedManifests:
        if self.on_manifests is not None:
            await self.on_manifests()
        self.steps.append("manifests")
        return CopiedManifests(manifests=2, sent=2 if self.steps.count("manifests") == 1 else 0)

    @activity.defn(name="registry.copy_tags")
    async def copy_tags(self, image: ReplicateImage) -> list[str]:
        self.steps.append("tags")
        return ["1.0"]

    @activity.defn(name="registry.book_failure")
    async def book_failure(self, failure: ReplicaFailure) -> None:
        self.failures.append(failure.message)

    @activity.defn(name="registry.follow_pushes")
    async def follow_pushes(self, request: FollowPushes) -> Followed:
        self.followed.append(request.cursor)
        if request.cursor == 3:
            await activity.wait_for_cancelled()
        return Followed(cursor=1 if request.cursor is None else request.cursor + 1)

    @activity.defn(name="registry.compare_replicas")
    async def compare_replicas(self, request: FollowPushes) -> Followed:
        self.steps.append(f"compare {request.after}")
        number = int(request.after.partition("@")[0] or 0) + 1
        return Followed(after="" if number >= self.index_pages else f"{number}@~")

    def activities(self) -> list[Callable[..., Any]]:
        return [
            self.find_missing,
            self.copy_blob,
            self.copy_manifests,
            self.copy_tags,
            self.book_failure,
            self.follow_pushes,
            self.compare_replicas,
        ]


@asynccontextmanager
async def scripted_region(plane: World) -> AsyncIterator[ScriptedRegion]:
    """With a worker on the queue of replications."""
    region = ScriptedRegion()
    async with make_worker(plane.client, WorkerRole("replication", (), region.activities())):
        yield region
