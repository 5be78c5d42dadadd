"""A host that is an EC2 instance: it names itself, and empties itself when it is taken back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog
from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError

from fleetwide.containers.offers import label_pairs
from fleetwide.errors import PlatformError
from fleetwide.models.host_moves import DrainRequest
from fleetwide.models.pools import LABELS_TAG, POOL_LABEL, POOL_TAG
from fleetwide.providers.ec2_instance import (
    METADATA_URL,
    instance_tags,
    interruption,
    this_instance,
)
from fleetwide.settings import Settings

BY_EC2 = "ec2"
"""The host id that stands for the instance's own."""
LOOK_SECONDS = 5.0
LEAST_SECONDS = 5.0
NOTICE_SECONDS = 120.0
"""How long before its end EC2 tells an instance of it, at the most."""
MARGIN_SECONDS = 15.0
"""Before the instance goes: its last containers are ended by force then."""

log = structlog.get_logger()


def metadata_url(settings: Settings) -> str:
    return settings.host_metadata_url or METADATA_URL


def identified(settings: Settings) -> Settings:
    """The settings with the instance's id, and with its pool and the pool's labels by its tags.

    Raises ``PlatformError`` where it is no EC2 instance.
    """
    if settings.host_id != BY_EC2:
        return settings
    url = metadata_url(settings)
    tags = instance_tags(url)
    labels = label_pairs(tags.get(LABELS_TAG, ""))
    if POOL_TAG in tags:
        labels[POOL_LABEL] = tags[POOL_TAG]
    labels |= label_pairs(settings.host_labels)
    text = ",".join(f"{name}={value}" for name, value in labels.items())
    return settings.model_copy(update={"host_id": this_instance(url).id, "host_labels": text})


@asynccontextmanager
async def heeding(client: Client, settings: Settings, named_by: str) -> AsyncIterator[None]:
    """With an eye on interruptions, where the host is named by EC2."""
    if named_by != BY_EC2:
        yield
        return
    looking = asyncio.create_task(heed_interruptions(client, settings))
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def heed_interruptions(client: Client, settings: Settings) -> None:
    """Ask for a drain once EC2 says that it takes the instance back, and look no more."""
    url, told = metadata_url(settings), False
    while True:
        try:
            end = await asyncio.to_thread(interruption, url)
            if end is not None:
                await _drain(client, settings.host_id, end)
                return
        except (PlatformError, RPCError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
            if not told:
                log.warning("interruptions.unknown", why=str(error))
            told = True
        await asyncio.sleep(LOOK_SECONDS)


async def _drain(client: Client, host_id: str, end: datetime) -> None:
    # The end is by EC2's clock; however far behind this machine's is, it is no later than that.
    left = min((end - datetime.now(UTC)).total_seconds(), NOTICE_SECONDS) - MARGIN_SECONDS
    request = DrainRequest(
        by="EC2",
        reason=f"the spot instance is taken back at {end:%H:%M:%S} UTC",
        parallel=1000,
        deadline_seconds=max(left, LEAST_SECONDS),
        force=True,
    )
    log.info("interruption.drain", host=host_id, at=end.isoformat())
    try:
        await client.get_workflow_handle(f"host/{host_id}").execute_update("drain", request)
    except WorkflowUpdateFailedError as error:
        log.info("interruption.not_drained", why=str(error.cause))  # it is empty, or will be sooner
