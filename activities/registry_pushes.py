"""What was pushed, as the outbox tells it, and the replications that are started for it."""

import asyncio
from time import monotonic

from temporalio import activity
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy

from activities.progress import heartbeat
from fleetwide.models.registry_regions import Followed, FollowPushes, ReplicateImage
from fleetwide.providers.registry_regions import Regions
from fleetwide.registry.replication import regions_of, unique, wanted_by_event
from fleetwide.store import events, registry_replicas, registry_repositories
from fleetwide.store.session import Store

LISTEN_SECONDS = 50.0
POLL_SECONDS = 0.5
EVENTS = 500
STARTS = 200
REPOSITORIES = 100
BEHIND_ALL = "~"
"""Sorts behind every digest."""
CONTROL = "control"


class PushActivities:
    """Follows the outbox of this region's registry."""

    def __init__(self, store: Store, regions: Regions, client: Client) -> None:
        self.store = store
        self.regions = regions
        self.client = client

    @activity.defn(name="registry.follow_pushes")
    async def follow_pushes(self, request: FollowPushes) -> Followed:
        """Start a replication for everything that was pushed since; waits a while for the first.

        Doing it again starts nothing twice that still runs.
        """
        if request.cursor is None:
            return Followed(cursor=await asyncio.to_thread(self._newest))
        cursor, until = request.cursor, monotonic() + LISTEN_SECONDS
        while True:
            cursor, images = await asyncio.to_thread(self._pushed, cursor)
            for image in images:
                await self._start(image)
            if images or monotonic() > until or activity.is_worker_shutdown():
                return Followed(cursor=cursor, started=len(images))
            heartbeat(f"listening from event {cursor}", None)
            await asyncio.sleep(POLL_SECONDS)

    @activity.defn(name="registry.compare_replicas")
    async def compare_replicas(self, request: FollowPushes) -> Followed:
        """Start a replication for what should lie in a region and does not: a page of the index.

        That covers rules which came later, copies that failed, and events that were lost.
        """
        images, after = await asyncio.to_thread(self._lacking, request.after)
        for image in images:
            await self._start(image)
        return Followed(cursor=request.cursor or 0, started=len(images), after=after)

    def _newest(self) -> int:
        with self.store.read() as session:
            return events.newest(session)

    def _pushed(self, cursor: int) -> tuple[int, list[ReplicateImage]]:
        regions = self.regions.current()
        with self.store.read() as session:
            rows = events.after(session, cursor, limit=EVENTS)
        wanted = [
            (f"{row.data['repository']}@{row.data['digest']}", region)
            for row in rows
            for region in wanted_by_event(regions, row.kind, row.data)
        ]
        images = [_image(reference, region) for reference, region in unique(wanted)]
        return (rows[-1].seq or cursor) if rows else cursor, images

    def _lacking(self, after: str) -> tuple[list[ReplicateImage], str]:
        """From behind ``after`` on (repository and digest); where to go on, empty at the end."""
        regions = self.regions.current()
        name, _, digest = after.partition("@")
        found: list[ReplicateImage] = []
        with self.store.read() as session:
            rows = registry_repositories.page(session, after=name, limit=REPOSITORIES)
            if digest != BEHIND_ALL and (row := registry_repositories.find(session, name)):
                rows.insert(0, row)
            for row in rows:
                start = digest if row.name == name else ""
                pages = [
                    (region, registry_replicas.lacking(session, row, region, start, STARTS))
                    for region in regions_of(regions, row.name)
                ]
                found += [
                    _image(f"{row.name}@{one}", region) for region, page in pages for one in page
                ]
                ends = [page[-1] for _, page in pages if len(page) == STARTS]
                if ends or len(found) >= STARTS:
                    return found, f"{row.name}@{min(ends, default=BEHIND_ALL)}"
        return found, f"{rows[-1].name}@{BEHIND_ALL}" if len(rows) >= REPOSITORIES else ""

    async def _start(self, image: ReplicateImage) -> None:
        """One that runs is told to look once more when it is done."""
        await self.client.start_workflow(
            "ImageReplication",
            image,
            id=image.workflow_id,
            task_queue=CONTROL,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal="pushed_again",
            static_summary=f"copy {image.repository} to {image.region}",
        )


def _image(reference: str, region: str) -> ReplicateImage:
    repository, _, digest = reference.partition("@")
    return ReplicateImage(repository=repository, digest=digest, region=region)
