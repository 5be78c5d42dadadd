"""Hosts whose machine is surely off: their tasks run elsewhere at once."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.models.containers import JobKind
from fleetwide.models.evictions import Eviction
from fleetwide.models.host_moves import HostChange
from fleetwide.models.task_states import EndReason
from fleetwide.store import standings
from fleetwide.store.session import Store
from fleetwide.store.standings import LeftBehind

ROUNDS = 10
ROUND_SECONDS = 1.0


class GoneHostActivities:
    """Needs the database and Temporal."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @activity.defn(name="fleet.remove_gone_host")
    async def remove_gone_host(self, change: HostChange) -> None:
        """Take the host out of the fleet, and have its attempts end as lost.

        A workflow that was given the host a moment ago, and has not begun its attempt, does not
        hear it: those that are left are told again for some seconds. One that never hears it loses
        its attempt by its disconnect policy.
        """
        await asyncio.to_thread(self._book, change)
        for _ in range(ROUNDS):
            left = await asyncio.to_thread(self._left, change.host_id)
            if not left:
                return
            await self._tell(left, change)
            await asyncio.sleep(ROUND_SECONDS)

    def _book(self, change: HostChange) -> None:
        with self._store.write() as session:
            standings.change(session, change, now=datetime.now(UTC))

    def _left(self, host_id: str) -> Sequence[LeftBehind]:
        with self._store.read() as session:
            return standings.left_behind(session, host_id)

    async def _tell(self, left: Sequence[LeftBehind], change: HostChange) -> None:
        client = activity.client()
        why = f"host {change.host_id} is gone: {change.reason}"[:500]
        await asyncio.gather(*(_give_up(client, one, change.host_id, why) for one in left))


async def _give_up(client: Client, one: LeftBehind, host_id: str, why: str) -> None:
    """Tell one attempt's workflow; one that is over needs no telling."""
    lost = Eviction(
        reason=EndReason.LOST,
        message=why,
        host_id=host_id,
        index=one.index if one.kind == JobKind.BATCH else None,
    )
    # The newest run: a batch job may have continued as new since the attempt was placed.
    handle = client.get_workflow_handle(one.workflow_id)
    try:
        await handle.signal("evict", lost)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
