"""Temporal's worker deployments: which builds there are, and who gets runs.

Each change carries the token of the look that it was decided on: whoever is second is refused.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.deployment.v1 import (
    WorkerDeploymentInfo,
)
from temporalio.api.deployment.v1 import (
    WorkerDeploymentVersion as Version,
)
from temporalio.api.enums.v1 import TaskQueueType, WorkerDeploymentVersionStatus
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import (
    DeleteWorkerDeploymentVersionRequest,
    DescribeTaskQueueRequest,
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    SetWorkerDeploymentRampingVersionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.errors import Conflict, ServiceUnavailable
from fleetwide.fleet.worker_versions import with_warnings
from fleetwide.models.worker_versions import VersionState, WorkerVersion, WorkerVersions
from fleetwide.settings import UNVERSIONED

CONTROL_QUEUE = "control"
RPC_TIMEOUT = timedelta(seconds=10)
# A poll waits for a minute at most, and is seen when it begins.
POLLED_WITHIN = timedelta(seconds=75)

Summary = WorkerDeploymentInfo.WorkerDeploymentVersionSummary
_STATES = {
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT: VersionState.CURRENT,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING: VersionState.RAMPING,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: VersionState.DRAINING,
    WorkerDeploymentVersionStatus.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: VersionState.DRAINED,
}
_PINNED = "TemporalWorkflowVersioningBehavior = 'Pinned'"
_FAILING = "TemporalReportedProblems IS NOT NULL"
_CHANGED = frozenset({RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.ABORTED})


@dataclass(frozen=True)
class Look:
    """What there was at one moment; ``token`` lets only a change through that knows it."""

    versions: WorkerVersions
    token: bytes


class WorkerDeployment:
    """The one deployment of the control workers.

    Every method raises ``ServiceUnavailable`` when Temporal does not answer, and every change
    ``Conflict`` when it is refused.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._service = client.workflow_service
        self.name = name

    async def look(self) -> Look:
        """All builds, with what runs on them and who polls for them."""
        async with _answering():
            info, token = await self._describe()
            pollers = await self._pollers()
            found = await asyncio.gather(
                *(self._version(info, each, pollers) for each in info.version_summaries),
                self._unversioned(info, pollers),
            )
            moving = await self._failing_of_no_build()
        current = info.routing_config.current_deployment_version.build_id or UNVERSIONED
        items = with_warnings([item for item in found if item is not None], moving)
        return Look(WorkerVersions(deployment=self.name, current=current, items=items), token)

    async def make_current(self, build_id: str, token: bytes, by: str) -> None:
        """Let new runs, and all that are not pinned, go on with this build."""
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=self._client.namespace,
            deployment_name=self.name,
            build_id="" if build_id == UNVERSIONED else build_id,
            conflict_token=token,
            identity=by,
        )
        async with _answering():
            await self._service.set_worker_deployment_current_version(request, timeout=RPC_TIMEOUT)

    async def ramp(self, build_id: str, percent: float, token: bytes, by: str) -> None:
        """Let that part of them go on with this build; an empty ``build_id`` ends a ramp."""
        request = SetWorkerDeploymentRampingVersionRequest(
            namespace=self._client.namespace,
            deployment_name=self.name,
            build_id=build_id,
            percentage=percent,
            conflict_token=token,
            identity=by,
        )
        async with _answering():
            await self._service.set_worker_deployment_ramping_version(request, timeout=RPC_TIMEOUT)

    async def delete(self, build_id: str, by: str) -> None:
        """Forget a build that is drained."""
        request = DeleteWorkerDeploymentVersionRequest(
            namespace=self._client.namespace,
            deployment_version=Version(deployment_name=self.name, build_id=build_id),
            identity=by,
        )
        async with _answering():
            await self._service.delete_worker_deployment_version(request, timeout=RPC_TIMEOUT)

    async def _describe(self) -> tuple[WorkerDeploymentInfo, bytes]:
        request = DescribeWorkerDeploymentRequest(
            namespace=self._client.namespace, deployment_name=self.name
        )
        try:
            found = await self._service.describe_worker_deployment(request, timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return WorkerDeploymentInfo(), b""
        return found.worker_deployment_info, found.conflict_token

    async def _pollers(self) -> dict[str, int]:
        """By build id how many workers polled lately."""
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=CONTROL_QUEUE),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        found = await self._service.describe_task_queue(request, timeout=RPC_TIMEOUT)
        oldest = datetime.now(UTC) - POLLED_WITHIN
        counts: dict[str, int] = {}
        for poller in found.pollers:
            build_id = self._build_of(poller)
            if build_id is not None and (_time(poller.last_access_time) or oldest) > oldest:
                counts[build_id] = counts.get(build_id, 0) + 1
        return counts

    def _build_of(self, poller: PollerInfo) -> str | None:
        """None when it belongs to another deployment."""
        options = poller.deployment_options
        if not options.deployment_name:
            return UNVERSIONED
        return options.build_id if options.deployment_name == self.name else None

    async def _version(
        self, info: WorkerDeploymentInfo, summary: Summary, pollers: dict[str, int]
    ) -> WorkerVersion:
        build_id = summary.deployment_version.build_id
        state = _STATES.get(summary.status, VersionState.INACTIVE)
        named = json.dumps(f"{self.name}:{build_id}")
        running, pinned, failing = await self._counts(f"TemporalWorkerDeploymentVersion = {named}")
        ramping = state is VersionState.RAMPING
        return WorkerVersion(
            build_id=build_id,
            state=state,
            ramp_percent=info.routing_config.ramping_version_percentage if ramping else None,
            since=_since(state, summary),
            last_current_at=_time(summary.last_current_time),
            pollers=pollers.get(build_id, 0),
            running=running,
            pinned=pinned,
            failing=failing,
        )

    async def _unversioned(
        self, info: WorkerDeploymentInfo, pollers: dict[str, int]
    ) -> WorkerVersion | None:
        """The workers without a build id; None when there are none, and nothing needs them."""
        routing = info.routing_config
        current = not routing.current_deployment_version.build_id
        running = await self._count("TemporalWorkerDeploymentVersion IS NULL")
        polls = pollers.get(UNVERSIONED, 0)
        if not (current or polls or running):
            return None
        return WorkerVersion(
            build_id=UNVERSIONED,
            state=VersionState.CURRENT if current else VersionState.INACTIVE,
            since=_time(routing.current_version_changed_time) if current else None,
            pollers=polls,
            running=running,
        )

    async def _failing_of_no_build(self) -> int:
        """Open runs whose steps fail and that are not pinned.

        Temporal tells of a run the build that took its last good step, not the one that fails.
        """
        failing, pinned = await asyncio.gather(
            self._count(_FAILING), self._count(f"{_FAILING} AND {_PINNED}")
        )
        return max(failing - pinned, 0)

    async def _counts(self, of: str) -> tuple[int, int, int]:
        """Open runs; those that are pinned; those of these whose steps fail."""
        running, pinned, failing = await asyncio.gather(
            self._count(of),
            self._count(f"{of} AND {_PINNED}"),
            self._count(f"{of} AND {_PINNED} AND {_FAILING}"),
        )
        return running, pinned, failing

    async def _count(self, of: str) -> int:
        query = f"{of} AND ExecutionStatus = 'Running'"
        return (await self._client.count_workflows(query, rpc_timeout=RPC_TIMEOUT)).count


def _since(state: VersionState, summary: Summary) -> datetime | None:
    """When it came into its state, as far as Temporal tells."""
    told = {
        VersionState.CURRENT: summary.current_since_time,
        VersionState.RAMPING: summary.ramping_since_time,
        VersionState.DRAINING: summary.drainage_info.last_changed_time,
        VersionState.DRAINED: summary.drainage_info.last_changed_time,
        VersionState.INACTIVE: summary.create_time,
    }
    return _time(told[state])


def _time(stamp: Timestamp) -> datetime | None:
    return stamp.ToDatetime(UTC) if stamp.ByteSize() else None


@asynccontextmanager
async def _answering() -> AsyncIterator[None]:
    """Turn what Temporal refuses into our errors."""
    try:
        yield
    except RPCError as error:
        if error.status in _CHANGED:
            raise Conflict(
                f"Temporal refuses it: {error.message}", hint="fleetwide worker-version list"
            ) from error
        raise ServiceUnavailable(
            f"Temporal does not tell of worker versions: {error.message}",
            hint="fleetwide dev status",
        ) from error
