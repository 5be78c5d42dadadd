"""Services, control side: look, decide, and have copies started and stopped."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.models.membership import Membership
from fleetwide.models.service_documents import ServiceStatus
from fleetwide.models.service_moves import CopyStop
from fleetwide.models.service_turns import (
    CopyKill,
    ServiceChange,
    ServiceStart,
    ServiceTurn,
    ServiceTurned,
)
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.services.tasks import task_of
from fleetwide.store import (
    copy_kills,
    service_changes,
    service_copies,
    service_turns,
    services,
)
from fleetwide.store.service_copies import Orders
from fleetwide.store.service_turns import MOST_AT_ONCE
from fleetwide.store.session import Store
from fleetwide.temporal import search_attributes as attributes

CALLS_AT_ONCE = 20
CONTROL = "control"


class ServiceActivities:
    """Needs the database and Temporal."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @activity.defn(name="services.ensure")
    def ensure(self, start: ServiceStart) -> ServiceStatus:
        """Make the service known; one that is there stays as it is."""
        with self.store.write() as session:
            row = services.ensure(
                session, start.service_id, start.run_id, start.spec, now=datetime.now(UTC)
            )
            return services.status_of(row)

    @activity.defn(name="services.change")
    def change(self, change: ServiceChange) -> ServiceStatus:
        """Write down what somebody wants of a service.

        Raises:
            Conflict: it has another version than expected, is being deleted, or cannot do it now.
            InvalidInput: the numbers do not fit together.
            NotFound: there is no such service, revision or copy.
        """
        with self.store.write() as session:
            return service_changes.change(session, change, datetime.now(UTC))

    @activity.defn(name="services.kill_copy")
    def kill_copy(self, asked: CopyKill) -> bool:
        """Have a copy leave its load balancers; whether its service stops it when it has.

        It does not if the copy is to end now, or its service is gone.
        """
        with self.store.write() as session:
            return copy_kills.order(session, asked, datetime.now(UTC))

    @activity.defn(name="services.turn")
    async def turn(self, asked: ServiceTurn) -> ServiceTurned:
        """Look at a service, start and stop what is due; safe to do twice."""
        now = datetime.now(UTC)
        turn = await asyncio.to_thread(self._take, asked, now)
        more = await self._carry_out(activity.client(), asked.service_id, turn.orders)
        pause = None if turn.again_at is None else max((turn.again_at - now).total_seconds(), 0.0)
        return ServiceTurned(status=turn.status, again_in_seconds=0.0 if more else pause)

    def _take(self, asked: ServiceTurn, now: datetime) -> service_turns.Turn:
        with self.store.write() as session:
            return service_turns.take(session, asked.service_id, asked.moves, now)

    async def _carry_out(self, client: Client, service_id: str, orders: Orders) -> bool:
        """Tell Temporal; whether there is more to do at once."""
        specs = await asyncio.to_thread(self._specs, service_id, orders.starts)

        async def start(member: Membership) -> str | None:
            return await _start(client, specs[member.revision], member)

        async def stop(order: tuple[str, CopyStop]) -> str | None:
            return await _stop(client, *order)

        async def look(task_id: str) -> str | None:
            return await _over(client, task_id)

        begun = await _each(start, orders.starts)
        told = await _each(stop, orders.stops)
        over = await _each(look, orders.unheard)
        await asyncio.to_thread(self._note, begun, told, over)
        full = MOST_AT_ONCE in (len(orders.starts), len(orders.stops))
        return full or bool(over)

    def _specs(
        self, service_id: str, members: Iterable[Membership]
    ) -> dict[int, ContainerServiceSpec]:
        with self.store.read() as session:
            return services.made_from(session, service_id, {one.revision for one in members})

    def _note(self, begun: list[str], told: list[str], over: list[str]) -> None:
        if not (begun or told or over):
            return
        with self.store.write() as session:
            _note(session, begun, told, over)


def _note(session: Session, begun: list[str], told: list[str], over: list[str]) -> None:
    service_copies.carried_out(session, begun, told)
    service_copies.found_over(session, over, now=datetime.now(UTC))


async def _each(work: Callable[[Any], Awaitable[str | None]], items: Iterable[Any]) -> list[str]:
    """Do the work for all, some at a time; the task ids for which it was done."""
    gate = asyncio.Semaphore(CALLS_AT_ONCE)

    async def one(item: Any) -> str | None:
        async with gate:
            return await work(item)

    answers = await asyncio.gather(*map(one, items))
    return [answer for answer in answers if answer is not None]


async def _start(client: Client, spec: ContainerServiceSpec, member: Membership) -> str:
    """Start a copy's task, or find that it was started before."""
    task = task_of(spec, member)
    summary = f"{member.service_id}: copy {member.index} of revision {member.revision}"
    try:
        await client.start_workflow(
            "ContainerTask",
            task,
            id=f"task/{member.task_id}",
            task_queue=CONTROL,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=summary,
            search_attributes=attributes.pairs(
                {
                    attributes.APP: spec.app,
                    attributes.OWNER: spec.owner,
                    attributes.PRODUCT: "containers",
                }
            ),
        )
    except WorkflowAlreadyStartedError:
        activity.logger.info("a copy's task has been started before, and is over")
    return member.task_id


async def _stop(client: Client, task_id: str, stop: CopyStop) -> str:
    """Tell a copy's task to stop; one that is over needs no telling."""
    try:
        await client.get_workflow_handle(f"task/{task_id}").signal("stop", stop)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    return task_id


async def _over(client: Client, task_id: str) -> str | None:
    """The task if its workflow is over, or is not there any more."""
    try:
        known = await client.get_workflow_handle(f"task/{task_id}").describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return task_id
    return None if known.status is WorkflowExecutionStatus.RUNNING else task_id
