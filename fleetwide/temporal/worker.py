"""The one worker factory: sandbox, heartbeats, shutdown and errors are the same everywhere."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from fleetwide.temporal.interceptors import ActivityEdge, WorkflowEdge
from fleetwide.temporal.versioning import VersionedRunner, deployment_config

# Passed through: models and signatures, which hold no clock and no randomness of their own.
# Never the workflows themselves, or the sandbox would no longer see what they call.
PASSED_THROUGH = ("fleetwide", "activities", "opentelemetry", "structlog")

HEARTBEAT_THROTTLE = timedelta(seconds=1)
GRACEFUL_SHUTDOWN = timedelta(seconds=15)


@dataclass(frozen=True)
class WorkerRole:
    """What one worker polls and runs."""

    task_queue: str
    workflows: Sequence[type] = ()
    activities: Sequence[Callable[..., Any]] = ()
    max_activities: int = 50
    max_workflow_tasks: int = 16
    executor: ThreadPoolExecutor | None = None
    """Threads that the activities share with other workers; unset, threads of their own."""
    activity_pollers: int | None = None
    """Polls that wait for activities at a time; unset, the SDK's number."""
    version: WorkerDeploymentVersion | None = None
    """Which version of the worker deployment this is; unset, it takes part in none."""


def sandbox(inner: type[WorkflowRunner] = UnsandboxedWorkflowRunner) -> WorkflowRunner:
    """The runner for all workflows, in workers, tests and replays; ``inner`` runs within it."""
    return SandboxedWorkflowRunner(
        restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH),
        runner_class=inner,
    )


def make_worker(client: Client, role: WorkerRole) -> Worker:
    """A worker for ``role``; run it with ``async with`` or ``run()``."""
    return Worker(
        client,
        task_queue=role.task_queue,
        workflows=role.workflows,
        activities=role.activities,
        activity_executor=role.executor
        or ThreadPoolExecutor(role.max_activities, f"activity-{role.task_queue}"),
        workflow_runner=_runner(role),
        deployment_config=None if role.version is None else deployment_config(role.version),
        interceptors=[ActivityEdge(), WorkflowEdge()],
        max_concurrent_activities=role.max_activities,
        max_concurrent_activity_task_polls=role.activity_pollers,
        max_concurrent_workflow_tasks=role.max_workflow_tasks if role.workflows else None,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        graceful_shutdown_timeout=GRACEFUL_SHUTDOWN,
    )


def _runner(role: WorkerRole) -> WorkflowRunner:
    if not role.workflows:
        return UnsandboxedWorkflowRunner()
    return sandbox() if role.version is None else sandbox(VersionedRunner)
