"""One turn of placement: read a snapshot, plan, commit, tell whoever waits."""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog
from temporalio.client import AsyncActivityCancelledError, Client
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.containers.placement import Plan, plan
from fleetwide.models.base import Waiting
from fleetwide.models.containers import Placements
from fleetwide.store import scheduling
from fleetwide.store.scheduling import Delivery, Notice
from fleetwide.store.session import Store

# A wait shorter than this is not worth an event in anybody's history.
TELL_AFTER = timedelta(seconds=2)
REFRESH_AFTER = timedelta(seconds=5)

log = structlog.get_logger()


class Placer:
    """Decides in plain code on a snapshot; every write is compared with what it was planned on."""

    def __init__(self, store: Store, client: Client) -> None:
        self.store = store
        self.client = client
        self.explained: dict[int, tuple[Waiting, datetime]] = {}

    async def tick(self) -> bool:
        """Place what can be placed; cheap when there is nothing to do. True when there was."""
        deliveries, notices = self._decide(datetime.now(UTC))
        if deliveries:
            await asyncio.gather(*(self._deliver(delivery) for delivery in deliveries))
            with self.store.write() as session:
                scheduling.mark_delivered(session, [d.waiter_id for d in deliveries])
        for notice in notices:
            await self._tell(notice)
        return bool(deliveries or self.explained)

    def _decide(self, now: datetime) -> tuple[list[Delivery], list[Notice]]:
        with self.store.read() as session:
            pending = scheduling.has_pending(session)
            if not pending:
                self.explained.clear()
                return scheduling.undelivered(session), []
            snapshot = scheduling.snapshot(session)
        planned = plan(snapshot)
        changed = self._new_reasons(planned, now)
        if planned.decisions or changed:
            with self.store.write() as session:
                scheduling.commit(session, snapshot, planned.decisions, now=now)
                for attempt_id, waiting in changed.items():
                    scheduling.explain(session, attempt_id, waiting)
        with self.store.read() as session:
            return scheduling.undelivered(session), scheduling.untold(
                session, accepted_before=now - TELL_AFTER
            )

    def _new_reasons(self, planned: Plan, now: datetime) -> dict[int, Waiting]:
        """Reasons worth writing: a new code at once, new numbers only every few seconds."""
        changed = {}
        known, self.explained = self.explained, {}
        for attempt_id, reason in planned.reasons.items():
            before, written = known.get(attempt_id, (None, now))
            same = before is not None and before.code == reason.code
            waiting = reason.since(before.since if before is not None and same else now)
            fresh = before is not None and before.sentence == waiting.sentence
            if same and (fresh or now - written < REFRESH_AFTER):
                self.explained[attempt_id] = known[attempt_id]
                continue
            self.explained[attempt_id] = (waiting, now)
            changed[attempt_id] = waiting
        return changed

    async def _deliver(self, delivery: Delivery) -> None:
        """Complete the waiting activity; one that is gone already has been told or given up."""
        handle = self.client.get_async_activity_handle(
            workflow_id=delivery.workflow_id,
            run_id=delivery.run_id,
            activity_id=delivery.activity_id,
        )
        try:
            await handle.complete(Placements(placed=list(delivery.placements)))
        except (RPCError, AsyncActivityCancelledError) as error:
            if isinstance(error, RPCError) and error.status is not RPCStatusCode.NOT_FOUND:
                raise
            log.info("placement was not waited for", workflow_id=delivery.workflow_id)

    async def _tell(self, notice: Notice) -> None:
        """Let the workflow show why it waits; a closed workflow needs no telling."""
        handle = self.client.get_workflow_handle(notice.workflow_id, run_id=notice.run_id)
        try:
            await handle.signal("waiting_for_host", notice.waiting)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        with self.store.write() as session:
            scheduling.mark_told(session, notice, now=datetime.now(UTC))
