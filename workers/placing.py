"""One turn of placement: look at what changed, decide, commit, tell whoever waits.

Whatever dies at any point, nothing is over-committed or forgotten: all of a tick is written in one
transaction, or nothing of it; what was written and not told is found by the next sweep.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic

import structlog
from temporalio.client import AsyncActivityCancelledError, Client
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.containers.placement import (
    Beside,
    CapacityGroup,
    Decision,
    Explanation,
    Offer,
    Plan,
    Tier,
)
from fleetwide.intervals import is_over
from fleetwide.models.base import Waiting
from fleetwide.models.containers import Placements
from fleetwide.store import capacity_groups, launches, pool_offers, scheduling
from fleetwide.store.job_shapes import JobShapes
from fleetwide.store.kept_fleet import KeptFleet
from fleetwide.store.launches import Committed, Launch
from fleetwide.store.pending import Queue
from fleetwide.store.scheduler_lease import LeaseLost
from fleetwide.store.scheduling import Delivery, Notice
from fleetwide.store.session import Store
from workers.leading import Leadership
from workers.preempting import NOTICE, Leave, Look, Preempting
from workers.waits import Waits

# A wait shorter than this is not worth an event in anybody's history.
TELL_AFTER = timedelta(seconds=2)
EACH = timedelta(seconds=1)
"""How often a tick looks at what it need not look at each time."""
AT_ONCE = 200
"""Deliveries on their way at the same time; they are noted before the next ones leave."""
NEVER = frozenset(
    {
        RPCStatusCode.NOT_FOUND,
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.OUT_OF_RANGE,
    }
)
"""Answers to a signal that stay the same however often it is sent."""
NOTHING = Committed(frozenset(), frozenset())

log = structlog.get_logger()


class Placer:
    """Decides in plain code on what it knows; every write is compared with what it was planned on.

    Does nothing while another scheduler holds the lease.
    """

    def __init__(
        self,
        store: Store,
        client: Client,
        leadership: Leadership | None = None,
        notice: timedelta = NOTICE,
    ) -> None:
        self.store = store
        self.client = client
        self.leadership = leadership or Leadership(store)
        shapes = JobShapes()
        self.queue = Queue(shapes)
        self.fleet = KeptFleet(shapes)
        self.groups: tuple[CapacityGroup, ...] = ()
        """As they were at most a second ago, without what they use."""
        self.preempting = Preempting(store, self.leadership, notice)
        self.waits = Waits()
        self.offers: list[Offer] = []
        """Kinds of new hosts that pools would start: whether one would help is told."""
        self._look: Look | None = None
        """What the last tick decided; None while nothing waits."""
        self._slow_turn: datetime | None = None
        self._token: int | None = None
        """Of the lease under which the fleet was read."""

    async def tick(self) -> bool:
        """Place what can be placed; cheap when there is nothing to do. True when there was."""
        now, began = datetime.now(UTC), monotonic()
        slow = is_over(self._slow_turn, EACH, now)
        if slow:
            self._slow_turn = now
        try:
            if not self._leads():
                return False
            deliveries = self._decide(now, slow=slow)
            leaves = self._take_back(now) if slow else []
        except LeaseLost:
            self._forget()
            return False
        except Exception:
            self._forget()
            raise
        finally:
            self.leadership.allow_for(monotonic() - began)
        for first in range(0, len(deliveries), AT_ONCE):
            if not await self._deliver_some(deliveries[first : first + AT_ONCE]):
                break  # Temporal is away: they are found again
        await self.preempting.ask_to_end(self.client, leaves, now)
        if slow and len(self.waits):
            await self._tell_waiting(now)
        return bool(deliveries)

    def _leads(self) -> bool:
        leads = self.leadership.leads()
        if self.leadership.token != self._token:  # another one may have acted in between
            self._forget()
            self._token = self.leadership.token
        return leads

    def _forget(self) -> None:
        """What is known may never have been written: placements, and reasons of waiting."""
        self.fleet.forget()
        self.preempting.forget()
        self._look = None
        self.waits.clear()

    def _decide(self, now: datetime, *, slow: bool) -> list[Delivery]:
        with self.store.read() as session:
            pending, waiter = scheduling.work(session)
            changed = False
            if slow:  # also when nothing waits: the next tick may place before the next slow one
                self.groups = capacity_groups.for_engine(session)
                self.queue.groups_ahead = frozenset(
                    each.name
                    for each in self.groups
                    if each.guarantee or each.tier is not Tier.FLEX
                )
            if pending and slow:
                self.offers = pool_offers.offers(session)
            if pending:
                new = self.queue.refresh(session, now=now)
                changed = self.fleet.refresh(session, self.queue.images, now=now) or new
            elif slow:
                self.fleet.read_notes(session)
        if not pending:
            self.queue.entries.clear()
            self._look = None
            self.waits.clear()
        done = self._place(now) if pending and (changed or slow) else NOTHING
        if slow and self.fleet.has_notes():
            self._commit([], {}, now)
        if not (waiter and (slow or done.launched)):
            return []
        with self.store.read() as session:
            # All of them now and then: an earlier scheduler may have died before it told them.
            return scheduling.undelivered(session, None if slow else done.launched)

    def _take_back(self, now: datetime) -> list[Leave]:
        """Who has to leave a place that was lent; whatever fails there, work is placed."""
        try:
            return self.preempting.turn(self._look, now)
        except LeaseLost:
            raise
        except Exception:
            log.exception("lent places were not looked at")
            self.preempting.forget()
            return []

    def _place(self, now: datetime) -> Committed:
        engine, entries = self.fleet.engine, self.queue.entries
        groups = self.fleet.usage.groups(self.groups)
        planned, ledger = engine.decide_on(
            self.queue.requests,
            Beside(groups, self.preempting.claims, self.offers),
            now.timestamp(),
            self.waits.told_at,
        )
        self._look = Look(engine, entries, planned, ledger)
        wanted = [self._launch(decision) for decision in planned.decisions]
        news = self.waits.news(self._explained(planned), entries, now=now)
        return self._commit(wanted, news, now) if wanted or news else NOTHING

    def _explained(self, planned: Plan) -> Mapping[int, Explanation]:
        """Why each one waits, with the places that are being cleared."""
        if not self.preempting.clearings:
            return planned.waiting
        waiting = dict(planned.waiting)
        for number, place in self.preempting.clearings.items():
            if number in waiting:
                waiting[number] = replace(waiting[number], clearing=place)
        return waiting

    def _launch(self, decision: Decision) -> Launch:
        entry = self.queue.entries[decision.request_id]
        shape = entry.request.shape
        return Launch(
            decision.request_id,
            decision.host_id,
            entry.workflow_id,
            entry.child,
            entry.attempt,
            decision.gpus,
            bool(shape.ports or shape.any_ports),
            entry.request.group,
            shape.amounts.vector,
        )

    def _commit(self, wanted: list[Launch], news: dict[int, Waiting], now: datetime) -> Committed:
        with self.store.write() as session:
            self.leadership.fence(session)
            done = launches.commit(session, wanted, self.fleet.versions, now=now)
            launches.explain(session, news)
            self.fleet.remove_notes(session)
        self.fleet.committed(done, wanted)
        return done

    async def _deliver_some(self, deliveries: Collection[Delivery]) -> bool:
        """Tell them, and note those that were told; whether there were any.

        What could not be told is logged, keeps nobody else waiting, and is told by a later turn.
        """
        answers = await asyncio.gather(
            *(self._deliver(delivery) for delivery in deliveries), return_exceptions=True
        )
        pairs = list(zip(deliveries, answers, strict=True))
        told = [each.waiter_id for each, answer in pairs if answer is None]
        with self.store.write() as session:
            scheduling.mark_delivered(session, told)
        for each, answer in pairs:
            if answer is not None:
                log.error("a placement was not told", workflow_id=each.workflow_id, exc_info=answer)
        return bool(told)

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

    async def _tell_waiting(self, now: datetime) -> None:
        """Let workflows show why they wait; one that cannot be told keeps nobody else waiting."""
        with self.store.read() as session:
            notices = scheduling.untold(session, accepted_before=now - TELL_AFTER)
        answers = await asyncio.gather(*map(self._signal, notices), return_exceptions=True)
        with self.store.write() as session:
            for notice, answer in zip(notices, answers, strict=True):
                if answer is None:
                    scheduling.mark_told(session, notice, now=datetime.now(UTC))
                else:
                    workflow_id = notice.workflow_id
                    log.error("a wait was not told", workflow_id=workflow_id, exc_info=answer)

    async def _signal(self, notice: Notice) -> None:
        """Returns as well when that workflow will never take the signal: a closed one, say."""
        handle = self.client.get_workflow_handle(notice.workflow_id, run_id=notice.run_id)
        try:
            await handle.signal("waiting_for_host", notice.waiting)
        except RPCError as error:
            if error.status not in NEVER:
                raise
            if error.status is not RPCStatusCode.NOT_FOUND:
                log.warning("cannot be told", workflow_id=notice.workflow_id, exc_info=error)
