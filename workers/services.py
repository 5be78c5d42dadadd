"""The scheduler's turn that tells services which of their copies have changed.

It goes by the events of the copies' tasks: an idle service costs nothing, a busy one a signal a
second at most. The first change after a rest is told at once: a lost copy shall not wait. What is
lost here is found by the services' own slow timers.
"""

import asyncio
from datetime import UTC, datetime
from time import monotonic

import structlog
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.errors import NotFound
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.store import service_copies, services
from fleetwide.store.session import Store

CONTROL = "control"
SIGNALS_AT_ONCE = 20
SERVICES_SECONDS = 0.25
REST_SECONDS = 1.0
"""A service that was told is left alone for so long; then it is told of all that has changed."""

log = structlog.get_logger()


class ServiceTeller:
    """Remembers how far it has read; whoever begins tells all services once."""

    def __init__(self, store: Store, client: Client, rest_seconds: float = REST_SECONDS) -> None:
        self.store = store
        self.client = client
        self.rest_seconds = rest_seconds
        self._cursor: int | None = None
        self._untold: set[str] = set()
        self._told_at: dict[str, float] = {}

    async def turn(self) -> None:
        """Tell each service of which something has changed since the last turn."""
        self._untold |= await asyncio.to_thread(self._changed)
        gate = asyncio.Semaphore(SIGNALS_AT_ONCE)
        await asyncio.gather(*(self._tell(name, gate) for name in sorted(self._due())))

    def _due(self) -> set[str]:
        since = monotonic() - self.rest_seconds
        self._told_at = {name: at for name, at in self._told_at.items() if at > since}
        return self._untold - self._told_at.keys()

    def _changed(self) -> set[str]:
        with self.store.read() as session:
            self._cursor, changed = services.changed_since(session, self._cursor)
            leaving = service_copies.may_stop_now(session, now=datetime.now(UTC))
            return {*changed, *leaving}

    async def _tell(self, service_id: str, gate: asyncio.Semaphore) -> None:
        """One that could not be told is told by a later turn."""
        async with gate:
            try:
                await self._signal(service_id)
            except RPCError:
                log.exception("a service was not told", service_id=service_id)
            else:
                self._untold.discard(service_id)
                self._told_at[service_id] = monotonic()

    async def _signal(self, service_id: str) -> None:
        handle = self.client.get_workflow_handle(f"service/{service_id}")
        try:
            await handle.signal("changed")
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            spec = await asyncio.to_thread(self._spec, service_id)
            if spec is not None:
                await self._begin_again(service_id, spec)

    def _spec(self, service_id: str) -> ContainerServiceSpec | None:
        """What is wanted of a service that has no workflow; None for one that was deleted."""
        with self.store.read() as session:
            try:
                return services.spec_of(session, services.get(session, service_id))
            except NotFound:
                return None

    async def _begin_again(self, service_id: str, spec: ContainerServiceSpec) -> None:
        """Somebody terminated the workflow: another one takes over what is there."""
        log.warning("a service has no workflow: it begins again", service_id=service_id)
        await self.client.start_workflow(
            "ContainerService",
            spec,
            id=f"service/{service_id}",
            task_queue=CONTROL,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=f"service {service_id}, after its workflow was terminated",
        )
