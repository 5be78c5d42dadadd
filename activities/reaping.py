"""Containers that nobody waits for: their workflow is over, or has given the attempt up."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.containers.launch import key_from_labels
from fleetwide.errors import FleetwideError
from fleetwide.models.containers import AttemptKey
from fleetwide.models.task_states import EndReason
from fleetwide.providers.companion_orphans import abandoned_volumes
from fleetwide.providers.engine import ContainerEngine, ListedContainer
from fleetwide.providers.lease_folder import LeaseFolder
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.orphans import salvage

LOOKS = 2
"""A workflow may be about to ask the host again for an attempt: it is looked for so many times."""
UNKNOWN_LOOKS = 4
"""Temporal may have been asked in the wrong place, or be on its way back from a backup."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Verdict:
    """Why a container goes, and how many looks in a row have to say so."""

    reason: EndReason
    looks: int = 1


@dataclass(frozen=True)
class _Run:
    """What Temporal says of a workflow run."""

    over: bool
    known: bool = True
    pending: frozenset[str] = frozenset()
    """The ids of its activities that have not ended."""


class Reaper:
    """Removes orphans of one host and keeps their evidence; none without a ``client``."""

    def __init__(
        self,
        host: ContainerEngine,
        store: ObjectStore,
        client: Client | None,
        folder: LeaseFolder | None,
    ) -> None:
        self._host = host
        self._store = store
        self._client = client
        self._folder = folder
        self._seen: dict[str, int] = {}

    async def reap(self, found: list[ListedContainer], holds: Callable[[str], bool]) -> None:
        """Look at the host's containers, and remove those that nobody waits for.

        ``holds`` tells whether an activity here is at work on the attempt of that container name.
        """
        found = [*found, *await asyncio.to_thread(abandoned_volumes, self._host, found)]
        runs: dict[tuple[str, str], _Run | None] = {}
        verdicts: dict[str, _Verdict | None] = {}
        seen: dict[str, int] = {}
        gone: set[str] = set()
        left: set[str] = set()
        for container in found:
            attempt = key_from_labels(container.labels)
            if attempt is None or holds(name := attempt.container_name()):
                continue
            if name not in verdicts:
                verdicts[name] = await self._why_to_go(attempt, runs)
            verdict = verdicts[name]
            if verdict is None:
                continue
            seen[container.name] = self._seen.get(container.name, 0) + 1
            if seen[container.name] < verdict.looks:
                left.add(name)
            elif await self._remove(container, attempt, verdict.reason):
                gone.add(name)
            else:
                left.add(name)
        self._seen = seen
        self._drop_leases(gone - left)

    def _drop_leases(self, attempts: set[str]) -> None:
        """Of attempts that have nothing here any more: a lease is what tells of the rest."""
        if self._folder is not None:
            for name in attempts:
                self._folder.drop(name)

    async def _why_to_go(
        self, attempt: AttemptKey, runs: dict[tuple[str, str], _Run | None]
    ) -> _Verdict | None:
        run = await self._run(attempt.workflow_id, attempt.run_id, runs)
        if run is None:
            return None
        if run.over:
            return _Verdict(EndReason.KILLED, 1 if run.known else UNKNOWN_LOOKS)
        lease = self._folder.get(attempt.container_name()) if self._folder else None
        if lease is None or not lease.activity_id:
            return None
        asked = await self._run(lease.workflow_id, lease.run_id, runs)
        gone = asked is not None and (asked.over or lease.activity_id not in asked.pending)
        return _Verdict(EndReason.LOST, LOOKS) if gone else None

    async def _remove(
        self, container: ListedContainer, attempt: AttemptKey, reason: EndReason
    ) -> bool:
        """False when it could not be removed yet."""
        why = "its workflow is over" if reason is EndReason.KILLED else "its attempt was given up"
        _log.info("removing container %s: %s", container.name, why)
        try:
            await asyncio.to_thread(
                salvage, self._host, self._store, container, attempt, reason=reason
            )
        except FleetwideError:
            _log.warning("could not remove container %s yet", container.name, exc_info=True)
            return False
        return True

    async def _run(
        self, workflow_id: str, run_id: str, known: dict[tuple[str, str], _Run | None]
    ) -> _Run | None:
        """The run as Temporal has it; None when Temporal cannot tell."""
        if self._client is None:
            return None
        key = (workflow_id, run_id)
        if key not in known:
            try:
                known[key] = await _described(self._client, *key)
            except RPCError as error:
                unknown = error.status is RPCStatusCode.NOT_FOUND
                known[key] = _Run(over=True, known=False) if unknown else None
        return known[key]


async def _described(client: Client, workflow_id: str, run_id: str | None) -> _Run:
    known = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    if known.status is WorkflowExecutionStatus.CONTINUED_AS_NEW and run_id is not None:
        return await _described(client, workflow_id, None)
    pending = known.raw_description.pending_activities
    return _Run(
        over=known.status is not WorkflowExecutionStatus.RUNNING,
        pending=frozenset(one.activity_id for one in pending),
    )
