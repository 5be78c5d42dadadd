"""``ImageReplication``: an image in another region. ``RegistryReplicationSweep`` starts them."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from activities.registry_pushes import PushActivities
    from activities.registry_replication import ReplicationActivities
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
        ReplicaOutcome,
        ReplicateImage,
        SweepState,
    )
    from fleetwide.temporal import search_attributes as attributes

from workflows.baseos_steps import together
from workflows.policies import BOOKING_TIMEOUT, PERSISTENT

REPLICATION = "replication"
"""The task queue of whoever may write to other regions."""
SIDE_BY_SIDE = 4
COPY_LIMIT = timedelta(hours=6)
COPY_HEARTBEAT = timedelta(seconds=20)
"""A chunk of 8 MiB may take that long on its way; a killed worker is missed after it."""
COPIES = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1), maximum_attempts=8
)
"""A short outage passes; after a long one the sweep begins anew."""
COMPARE_EVERY = timedelta(hours=1)
LISTEN_LIMIT = timedelta(minutes=5)


async def _on_regions(activity: Any, argument: Any, summary: str) -> Any:
    """A step that speaks to another region."""
    return await workflow.execute_activity_method(
        activity,
        argument,
        task_queue=REPLICATION,
        start_to_close_timeout=COPY_LIMIT,
        heartbeat_timeout=COPY_HEARTBEAT,
        retry_policy=COPIES,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary,
    )


@workflow.defn(name="ImageReplication")
class ImageReplication:
    """Blobs that the region lacks, then manifests from the leaves up, then tags.

    Every step finds out by itself what is done already, so that nothing is sent twice.
    """

    def __init__(self) -> None:
        self.asked_again = False
        self.outcome: ReplicaOutcome | None = None

    @workflow.run
    async def run(self, image: ReplicateImage) -> ReplicaOutcome:
        self.outcome = ReplicaOutcome(
            repository=image.repository, digest=image.digest, region=image.region
        )
        self._tell(image, "copying")
        try:
            self.asked_again = True  # also when no signal came with the start
            while self.asked_again:
                self.asked_again = False
                await self._copy(image)
        except (ActivityError, asyncio.CancelledError) as error:
            self._tell(image, "failed")
            await _book_failure(image, error)
            raise
        self._tell(image, "present")
        return self.outcome

    async def _copy(self, image: ReplicateImage) -> None:
        await self._copy_blobs(image)
        copied: CopiedManifests = await _on_regions(
            ReplicationActivities.copy_manifests, image, "copy manifests, children before indexes"
        )
        tags: list[str] = await _on_regions(
            ReplicationActivities.copy_tags, image, "copy the tags that mean the image"
        )
        self._add(manifests=copied.sent)
        assert self.outcome is not None
        self.outcome = self.outcome.model_copy(update={"tags": tags})

    async def _copy_blobs(self, image: ReplicateImage) -> None:
        missing = MissingBlobs(more=True)
        while missing.more:
            missing = await _on_regions(
                ReplicationActivities.find_missing,
                FindMissing(image=image, after=missing.after),
                f"look which blobs {image.region} lacks",
            )
            self._tell(image, f"copying {len(missing.blobs)} of {missing.total} blobs")
            limit = asyncio.Semaphore(SIDE_BY_SIDE)
            await together([self._copy_blob(image, blob, limit) for blob in missing.blobs])

    async def _copy_blob(self, image: ReplicateImage, blob: Blob, limit: asyncio.Semaphore) -> None:
        async with limit:
            copied: CopiedBlob = await _on_regions(
                ReplicationActivities.copy_blob,
                CopyBlob(image=image, blob=blob),
                f"copy {blob.digest[:19]}, {blob.size} bytes, to {image.region}",
            )
        self._add(blobs=1, bytes_sent=copied.sent)

    def _add(self, **counts: int) -> None:
        assert self.outcome is not None
        sums = {name: getattr(self.outcome, name) + count for name, count in counts.items()}
        self.outcome = self.outcome.model_copy(update=sums)

    def _tell(self, image: ReplicateImage, state: str) -> None:
        assert self.outcome is not None
        done = self.outcome
        workflow.set_current_details(
            f"**{state}**\n- `{image.repository}@{image.digest}` to {image.region}\n"
            f"- {done.blobs} blobs, {done.bytes_sent} bytes, {done.manifests} manifests sent"
        )
        workflow.upsert_search_attributes(
            attributes.updates(
                {
                    attributes.PRODUCT: "registry",
                    attributes.IMAGE_DIGEST: image.digest,
                    attributes.STATE: state.partition(" ")[0],
                }
            )
        )

    @workflow.signal(description="It was pushed or tagged once more: look again when done")
    def pushed_again(self) -> None:
        self.asked_again = True

    @workflow.query(description="What has been copied so far")
    def progress(self) -> ReplicaOutcome | None:
        return self.outcome


async def _book_failure(image: ReplicateImage, error: BaseException) -> None:
    cause = error.cause if isinstance(error, ActivityError) else None
    cancelled = is_cancelled_exception(error)
    message = "cancelled" if cancelled else str(getattr(cause, "message", None) or error)
    await workflow.execute_activity_method(
        ReplicationActivities.book_failure,
        ReplicaFailure(image=image, message=message),
        task_queue=REPLICATION,
        start_to_close_timeout=BOOKING_TIMEOUT,
        retry_policy=PERSISTENT,
        summary="book that the copy is not whole",
    )


@workflow.defn(name="RegistryReplicationSweep")
class RegistryReplicationSweep:
    """Follows the registry's outbox for ever, and looks through the whole index from time to time.

    The number of the event that was seen last is its state: no push is passed over, whoever is
    killed or away.
    """

    def __init__(self) -> None:
        self.state = SweepState()

    @workflow.run
    async def run(self, state: SweepState) -> None:
        workflow.upsert_search_attributes(attributes.updates({attributes.PRODUCT: "registry"}))
        self.state = state
        while not workflow.info().is_continue_as_new_suggested():
            followed = await _follow(self.state)
            self.state = self.state.model_copy(update={"cursor": followed.cursor})
            if self._due():
                await self._compare()
            workflow.set_current_details(f"seen: event {self.state.cursor}")
        workflow.continue_as_new(self.state)

    def _due(self) -> bool:
        last: datetime | None = self.state.compared_at
        return bool(self.state.after) or last is None or workflow.now() - last >= COMPARE_EVERY

    async def _compare(self) -> None:
        """Look through the index; a run with a long history leaves the rest to the next one."""
        began = self.state.comparing_since or workflow.now()
        while True:
            page = await _compare_from(self.state.after)
            if not page.after:
                update = {"compared_at": began, "comparing_since": None, "after": ""}
                break
            update = {"comparing_since": began, "after": page.after}
            self.state = self.state.model_copy(update=update)
            if workflow.info().is_continue_as_new_suggested():
                break
        self.state = self.state.model_copy(update=update)

    @workflow.query(description="Which event was seen last, and when the index was looked through")
    def progress(self) -> SweepState:
        return self.state


async def _follow(state: SweepState) -> Followed:
    followed: Followed = await workflow.execute_activity_method(
        PushActivities.follow_pushes,
        FollowPushes(cursor=state.cursor),
        task_queue=REPLICATION,
        start_to_close_timeout=LISTEN_LIMIT,
        heartbeat_timeout=COPY_HEARTBEAT,
        retry_policy=PERSISTENT,
        summary="wait for pushes",
    )
    return followed


async def _compare_from(after: str) -> Followed:
    page: Followed = await workflow.execute_activity_method(
        PushActivities.compare_replicas,
        FollowPushes(after=after),
        task_queue=REPLICATION,
        start_to_close_timeout=LISTEN_LIMIT,
        retry_policy=PERSISTENT,
        summary=f"look for copies that are missing, from {after or 'the beginning'}",
    )
    return page
