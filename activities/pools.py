"""Host pools, control side: see what is to be done, start and end machines, empty hosts."""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping
from datetime import UTC, datetime
from secrets import token_urlsafe
from time import monotonic
from typing import Any, TypeVar

from sqlmodel import Session
from temporalio import activity
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.pool_looks import BY, look
from fleetwide.errors import ErrorCode, FleetwideError
from fleetwide.models.host_moves import MAX_DRAIN_SECONDS, DrainRequest, HostRemoval
from fleetwide.models.pools import (
    END_SENTENCE,
    PoolDrain,
    PoolEnd,
    PoolLaunch,
    PoolProvider,
    PoolSteps,
    PoolTermination,
    PoolTurn,
)
from fleetwide.models.registry_access import HOST_PREFIX, AccountSpec
from fleetwide.providers.ec2_machines import Ec2Machines
from fleetwide.providers.local_machines import LocalMachines
from fleetwide.providers.machines import MachineProvider
from fleetwide.registry.accounts import hash_secret
from fleetwide.settings import Settings
from fleetwide.store import pools, registry_accounts
from fleetwide.store.registry_accounts import Deed
from fleetwide.store.session import Store

LOOK_SECONDS = 3.0
BEAT_SECONDS = 1.0
STILL_SECONDS = 300.0
DELETION_SECONDS = 600.0
"""So long budgets may hold up the end of a pool; a smaller or newer one they may for days."""
SILENT_SECONDS = 120.0
"""A host whose machine is off is silent by then: its watch misses its heartbeats."""
AGAIN_SECONDS = 2.0
Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class PoolActivities:
    """Needs the database, and the rights of the provider."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._store = store
        self._providers: Mapping[PoolProvider, MachineProvider] = {
            PoolProvider.EC2: Ec2Machines(settings),
            PoolProvider.LOCAL: LocalMachines(settings, self._login),
        }

    @activity.defn(name="pools.next_steps")
    async def next_steps(self, turn: PoolTurn) -> PoolSteps:
        """Look at the pool every few seconds until there is something to do, or for five minutes.

        Each look is written down, so that people see the pool without asking its workflow.
        """
        beating = asyncio.create_task(_beat())
        try:
            return await self._until_there_is_something(turn)
        finally:
            beating.cancel()

    async def _until_there_is_something(self, turn: PoolTurn) -> PoolSteps:
        until, provider = monotonic() + STILL_SECONDS, self._providers[turn.spec.provider]
        while True:
            found = await asyncio.to_thread(look, self._store, provider, turn)
            empty = turn.deleting and not found.machines
            if found.steps or found.refreshed or empty or monotonic() > until:
                return found
            await asyncio.sleep(LOOK_SECONDS)

    @activity.defn(name="pools.launch")
    async def launch(self, launch: PoolLaunch) -> int:
        """Start machines; answers how many there are now for the token.

        Raises:
            CloudUnavailable: the provider has none left, refused or did not answer.
        """
        return await _whole(asyncio.to_thread(self._launch, launch))

    def _launch(self, launch: PoolLaunch) -> int:
        now = datetime.now(UTC)
        try:
            machines = self._providers[launch.spec.provider].launch(launch)
        except FleetwideError as error:
            with self._store.write() as session:
                pools.note(session, launch.spec.name, error.message[:500], now=now)
            raise
        with self._store.write() as session:
            pools.launched(session, launch.spec.name, machines, now=now)
        return len(machines)

    @activity.defn(name="pools.drain")
    async def drain(self, request: PoolDrain) -> None:
        """Ask hosts to be emptied; they end as Removable, and the pool then ends their machines."""
        now = datetime.now(UTC)
        await asyncio.to_thread(self._book_drain, request, now)
        wanted = DrainRequest(
            by=BY,
            reason=f"{request.pool}: {request.reason}",
            deadline_seconds=DELETION_SECONDS if request.hurry else MAX_DRAIN_SECONDS,
            force=True,
            cause=request.cause,
        )
        for machine in request.machines:
            await _ask(machine, "drain", wanted)

    def _book_drain(self, request: PoolDrain, now: datetime) -> None:
        with self._store.write() as session:
            pools.drains(session, request, now=now)

    @activity.defn(name="pools.terminate")
    async def terminate(self, request: PoolTermination) -> None:
        """End machines, and take their hosts out of the fleet.

        What ran on one that the provider says is off runs elsewhere at once.
        """
        await _whole(self._end(request))

    async def _end(self, request: PoolTermination) -> None:
        off = await asyncio.to_thread(self._terminate, request)
        why = f"{request.spec.name}: {END_SENTENCE[request.end]}"
        leaving = (
            _remove_gone(machine, why) if machine in off else _remove(machine, why)
            for machine in request.machines
        )
        await asyncio.gather(*leaving)

    def _terminate(self, request: PoolTermination) -> Collection[str]:
        """End the machines; those of them that were surely off before."""
        provider, off = self._providers[request.spec.provider], frozenset[str]()
        if request.end is PoolEnd.VANISHED:
            off = frozenset(provider.off(request.spec, request.machines))
        provider.terminate(request.spec, request.machines)
        now = datetime.now(UTC)
        with self._store.write() as session:
            pools.ended(session, request.spec.name, request.machines, request.end, now=now)
            for machine in request.machines:
                _forget_account(session, machine, Deed(BY, now))
        return off

    @activity.defn(name="pools.forget")
    def forget(self, name: str) -> None:
        """Book that the pool is deleted."""
        with self._store.write() as session:
            pools.gone(session, name, now=datetime.now(UTC))

    def _login(self, host_id: str) -> Mapping[str, str]:
        """An account of the registry for a new host, which pulls only what it is to run."""
        secret, name = token_urlsafe(32), f"{HOST_PREFIX}{host_id}"
        deed = Deed(BY, datetime.now(UTC))
        with self._store.write() as session:
            _forget_account(session, host_id, deed)
            spec = AccountSpec(name=name, owner=BY, grants=[])
            registry_accounts.create(session, spec, hash_secret(secret), deed)
        return {"FLEETWIDE_REGISTRY_USERNAME": name, "FLEETWIDE_REGISTRY_PASSWORD": secret}


def _forget_account(session: Session, host_id: str, deed: Deed) -> None:
    if registry_accounts.find(session, f"{HOST_PREFIX}{host_id}") is not None:
        registry_accounts.delete(session, f"{HOST_PREFIX}{host_id}", deed)


async def _beat() -> None:
    """Heartbeats also while a look takes long: by them a cancel arrives."""
    while True:
        activity.heartbeat()
        await asyncio.sleep(BEAT_SECONDS)


async def _whole(work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work with heartbeats: a dead worker is noticed soon, and a cancel waits for the end.

    What is being started or ended must be written down, whatever comes meanwhile.
    """
    doing, beating = asyncio.create_task(work), asyncio.create_task(_beat())
    try:
        while True:
            try:
                return await asyncio.shield(doing)
            except asyncio.CancelledError:
                details = activity.cancellation_details()
                if doing.cancelled() or details is None or not details.cancel_requested:
                    doing.cancel()
                    raise
    finally:
        beating.cancel()


async def _remove_gone(machine: str, reason: str) -> None:
    """Take a host out of the fleet whose machine is off, as soon as its silence is noticed."""
    until, removal = monotonic() + SILENT_SECONDS, HostRemoval(by=BY, reason=reason, gone=True)
    while not await _ask(machine, "remove", removal):
        if monotonic() > until:
            _log.warning("host %s answers, though its machine is off", machine)
            return
        await asyncio.sleep(AGAIN_SECONDS)


async def _remove(machine: str, reason: str) -> None:
    """Take a host out of the fleet; with its tasks, when it does not answer any more.

    One that still answers and has tasks is ending: it falls silent, and is given up as any other.
    """
    for force in (False, True):
        if await _ask(machine, "remove", HostRemoval(by=BY, reason=reason, force=force)):
            return


async def _ask(machine: str, update: str, argument: DrainRequest | HostRemoval) -> bool:
    """Ask a host's workflow; one that is gone needs no asking. False when it refuses."""
    handle = activity.client().get_workflow_handle(f"host/{machine}")
    try:
        await handle.execute_update(update, argument)
    except WorkflowUpdateFailedError as error:
        cause = error.cause
        if not (isinstance(cause, ApplicationError) and cause.type == ErrorCode.CONFLICT):
            raise
        _log.info("host %s refuses to %s: %s", machine, update, cause.message)
        return False
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    return True
