"""The scheduler's turn that packs the fleet more densely: one host at a time is emptied.

What it began goes on in the host's own workflow, which lets the host take work again: nothing is
held here, and a scheduler that dies leaves nothing behind.
"""

import asyncio
from time import monotonic

import structlog
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.service import RPCError

from fleetwide.models.host_moves import DrainRequest, HostMove
from fleetwide.settings import Settings
from fleetwide.store import clock, defragmentation
from fleetwide.store.defragmentation import BY, Round
from fleetwide.store.session import Store

LOOK_SECONDS = 5.0
UPDATE_SECONDS = 10.0

log = structlog.get_logger()


class Defragmenter:
    """Begins a round every ``FLEETWIDE_DEFRAGMENTATION_SECONDS``, where it is wanted at all."""

    def __init__(self, settings: Settings, store: Store, client: Client) -> None:
        self.settings = settings
        self.store = store
        self.client = client
        self._due = monotonic() + settings.defragmentation_seconds

    async def turn(self) -> None:
        """Empty the next host, if there is one; give back those that nobody empties any more."""
        if not self.settings.defragmentation or monotonic() < self._due:
            return
        self._due = monotonic() + self.settings.defragmentation_seconds
        seen, request = await asyncio.to_thread(self._look)
        for host_id in seen.stuck:
            why = HostMove(by=BY, reason="nobody empties it any more")
            await self._ask(host_id, "uncordon", why)
        if seen.freed is not None and request is not None:
            await self._ask(seen.freed.emptying.host_id, "drain", request)

    def _look(self) -> tuple[Round, DrainRequest | None]:
        rules = defragmentation.rules_of(self.settings)
        with self.store.read() as session:
            seen = defragmentation.next_round(session, rules, now=clock.now(session))
            return seen, defragmentation.request(session, seen, rules)

    async def _ask(self, host_id: str, update: str, move: HostMove) -> None:
        handle = self.client.get_workflow_handle(f"host/{host_id}")
        try:
            asking = handle.execute_update(update, move)
            await asyncio.wait_for(asking, UPDATE_SECONDS)
        except (WorkflowUpdateFailedError, RPCError, TimeoutError) as error:
            # People, or the host itself, were first; the next round looks anew.
            log.info("host was not moved", host=host_id, update=update, why=str(error))
