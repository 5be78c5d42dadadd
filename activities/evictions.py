"""How running attempts are told to leave, once the gate has let them go."""

from datetime import datetime

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.models.containers import JobKind
from fleetwide.models.disturbances import END_OF, Cause, Disturbed
from fleetwide.models.evictions import Eviction
from fleetwide.models.service_moves import CopyMove

MOST_MESSAGE = 500


async def evict(
    client: Client, one: Disturbed, eviction: Eviction, *, forced: bool = False
) -> bool:
    """Ask one attempt to leave; False when its workflow is over, and needs no asking.

    Of a copy of a service it is the service that is asked: another copy takes its place first,
    unless it is forced.
    """
    if one.service_id is not None:
        move = _of_copy(one, eviction, forced=forced)
        if await _signal(client, f"service/{one.service_id}", "move", move):
            return True
    # The newest run: a batch job may have continued as new since the attempt was placed.
    return await _signal(client, one.key.workflow_id, "evict", eviction)


def eviction_of(
    one: Disturbed, cause: Cause, message: str, *, not_after: datetime | None = None
) -> Eviction:
    """What the attempt's workflow is told; ``not_after`` is until when the gate's word holds."""
    return Eviction(
        reason=END_OF[cause],
        message=message[:MOST_MESSAGE],
        host_id=one.host_id,
        index=one.key.index if one.kind == JobKind.BATCH else None,
        attempt=one.key.attempt,
        not_after=not_after,
    )


def _of_copy(one: Disturbed, eviction: Eviction, *, forced: bool) -> CopyMove:
    told = eviction.model_dump(exclude={"index"})
    return CopyMove(**told, index=one.copy_index, forced=forced)


async def _signal(client: Client, workflow_id: str, name: str, argument: Eviction) -> bool:
    try:
        await client.get_workflow_handle(workflow_id).signal(name, argument)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True
