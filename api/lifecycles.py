"""The one place where the API speaks Temporal: start, wait, describe, change, cancel."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, ValidationError
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ApplicationError, FailureError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from api.deps import Platform
from api.links import links_of, thing_page
from api.problems import problem_of
from fleetwide.errors import (
    Conflict,
    FleetwideError,
    InvalidInput,
    NotFound,
    ServiceUnavailable,
)
from fleetwide.models.base import StepProgress
from fleetwide.models.documents import Operation, OperationStatus, Problem
from fleetwide.registry.digests import canonical_json
from fleetwide.settings import Settings
from fleetwide.temporal.errors import from_application_error

CONTROL_QUEUE = "control"
RPC_TIMEOUT = timedelta(seconds=10)
# Retiring a release waits for EC2 and for a builder; clients wait for an answer for a minute.
UPDATE_SECONDS = 50.0
LOST_TASKS = 5
REQUEST_MEMO = "request"
MAX_SUMMARY_BYTES = 400

# Total over Temporal's statuses (a test asserts it).
STATUS: dict[WorkflowExecutionStatus, OperationStatus] = {
    WorkflowExecutionStatus.RUNNING: OperationStatus.RUNNING,
    WorkflowExecutionStatus.CONTINUED_AS_NEW: OperationStatus.RUNNING,
    WorkflowExecutionStatus.COMPLETED: OperationStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED: OperationStatus.FAILED,
    WorkflowExecutionStatus.CANCELED: OperationStatus.CANCELLED,
    WorkflowExecutionStatus.TERMINATED: OperationStatus.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT: OperationStatus.TIMED_OUT,
}


@dataclass(frozen=True)
class Start:
    """One workflow to start.

    ``unique`` refuses an id that is in use instead of joining it; ``compare`` joins only a
    workflow that was started for an equal request.
    """

    workflow_type: str
    workflow_id: str
    spec: BaseModel
    summary: str
    reuse: WorkflowIDReusePolicy = WorkflowIDReusePolicy.REJECT_DUPLICATE
    unique: bool = False
    compare: bool = False
    asked: BaseModel | None = None
    """What somebody asked for, where ``spec`` is that with what somebody else's rules add."""
    join: BaseModel | None = None
    """What a workflow is told by its signal ``join`` that runs for another request."""
    attributes: TypedSearchAttributes = field(default_factory=lambda: TypedSearchAttributes([]))

    @property
    def fingerprint(self) -> str:
        """Tells equal requests from different ones under the same id."""
        document = (self.asked or self.spec).model_dump(mode="json")
        return hashlib.sha256(canonical_json(document)).hexdigest()


def idempotent_id(key: str) -> str:
    """The id that an idempotency key always stands for."""
    return "k" + hashlib.sha256(key.encode()).hexdigest()[:25]


@asynccontextmanager
async def translated(workflow_id: str) -> AsyncIterator[None]:
    """Turn the errors of a Temporal client into ours."""
    try:
        yield
    except WorkflowUpdateFailedError as error:
        raise failure_of(error.cause) from error
    except RPCError as error:
        raise _of_rpc(error, workflow_id) from error
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        raise ServiceUnavailable(
            f"no worker answered for {workflow_id} in time", hint="fleetwide dev status"
        ) from error


def _of_rpc(error: RPCError, workflow_id: str) -> FleetwideError:
    if error.status is RPCStatusCode.NOT_FOUND:
        if "already completed" in error.message:
            return Conflict(f"{workflow_id} has ended already")
        return NotFound(f"there is no workflow {workflow_id}")
    if error.status is RPCStatusCode.INVALID_ARGUMENT:
        return InvalidInput(f"Temporal refuses {workflow_id[:100]!r}: {error.message}")
    if "Workflow Task in failed state" in error.message:
        return ServiceUnavailable(
            f"{workflow_id} cannot go on: its workers fail to replay it, and try again",
            hint="fleetwide worker-version list",
        )
    return ServiceUnavailable(
        f"Temporal does not answer: {error.message}", hint="fleetwide dev status"
    )


def failure_of(error: BaseException | None) -> FleetwideError:
    """The innermost failure in our own classes; Temporal wraps an activity's in its own."""
    while isinstance(error, FailureError) and not isinstance(error, ApplicationError):
        if error.cause is None:
            break
        error = error.cause
    if isinstance(error, ApplicationError):
        return from_application_error(error)
    return FleetwideError(str(error) or "the workflow failed")


async def start(platform: Platform, request: Start) -> WorkflowHandle[Any, Any]:
    """Start the workflow, or join the one of the same id.

    Raises:
        Conflict: the id is in use and must be new.
        InvalidInput: the id (an idempotency key) was used for another request.
    """
    client = await platform.temporal.client()
    async with translated(request.workflow_id):
        try:
            handle = await _start(client, request, details_of(platform.settings, request))
        except WorkflowAlreadyStartedError as error:
            if request.unique:
                raise Conflict(f"{request.workflow_id} exists already") from error
            handle = client.get_workflow_handle(request.workflow_id)
        if request.compare:
            await _refuse_another_request(handle, request)
        if request.join is not None and not await _runs_for(handle, request):
            # Starts it where the other one has ended in between.
            return await _start(client, request, details_of(platform.settings, request), "join")
    return handle


async def _runs_for(handle: WorkflowHandle[Any, Any], request: Start) -> bool:
    known = await handle.describe(rpc_timeout=RPC_TIMEOUT)
    return bool(await known.memo_value(REQUEST_MEMO, None) == request.fingerprint)


async def _refuse_another_request(handle: WorkflowHandle[Any, Any], request: Start) -> None:
    if not await _runs_for(handle, request):
        raise InvalidInput.for_field(
            "Idempotency-Key",
            "was used before for another request",
            hint="use a new key for a new request",
        )


def details_of(settings: Settings, request: Start) -> str:
    """Markdown for the Temporal Web UI: where else the thing can be looked at."""
    links = {"self": thing_page(request.workflow_id)}
    if request.workflow_type == "ContainerTask":
        links["log"] = f"{links['self']}/logs"
    base = settings.api_url.rstrip("/")
    lines = [f"- [{name}]({base}{path})" for name, path in links.items()]
    return "\n".join([request.summary, "", *lines])


async def _start(
    client: Client, request: Start, details: str, signal: str | None = None
) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(
        request.workflow_type,
        request.spec,
        id=request.workflow_id,
        task_queue=CONTROL_QUEUE,
        id_reuse_policy=request.reuse,
        id_conflict_policy=WorkflowIDConflictPolicy.FAIL
        if request.unique
        else WorkflowIDConflictPolicy.USE_EXISTING,
        memo={REQUEST_MEMO: request.fingerprint},
        search_attributes=request.attributes,
        static_summary=_cut(request.summary),
        static_details=details,
        start_signal=signal,
        start_signal_args=[request.join] if signal else [],
        rpc_timeout=RPC_TIMEOUT,
    )


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line.encode()[:MAX_SUMMARY_BYTES].decode(errors="ignore")


async def wait_end(handle: WorkflowHandle[Any, Any], seconds: float) -> None:
    """Return when the workflow has ended or the time is over, whichever comes first."""
    if seconds <= 0:
        return
    async with translated(handle.id):
        try:
            await asyncio.wait_for(handle.result(), seconds)
        except (WorkflowFailureError, TimeoutError):
            return


async def operation(platform: Platform, workflow_id: str, run_id: str | None = None) -> Operation:
    """The run as a document; its result or its failure when it has ended."""
    client = await platform.temporal.client()
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    async with translated(workflow_id):
        known = await handle.describe(rpc_timeout=RPC_TIMEOUT)
        result, error = await _outcome(client, known)
        summary = await known.static_summary() or ""
        progress = await _progress(client, known)
    return Operation(
        id=workflow_id.partition("/")[2] or workflow_id,
        workflow_id=workflow_id,
        run_id=known.run_id,
        workflow_type=known.workflow_type,
        status=status_of(known),
        summary=summary,
        progress=progress,
        started_at=known.start_time,
        closed_at=known.close_time,
        result=result,
        error=error,
        links=links_of(platform.settings, workflow_id, known.run_id),
    )


async def _progress(client: Client, known: WorkflowExecutionDescription) -> str:
    """What the heartbeat of a pending activity tells of its step, if it is told that way."""
    for pending in known.raw_description.pending_activities:
        payloads = pending.heartbeat_details.payloads
        if payloads:
            [details] = await client.data_converter.decode(payloads, [dict])
            with suppress(ValidationError):
                return str(StepProgress.model_validate(details))
    return ""


def status_of(known: WorkflowExecutionDescription) -> OperationStatus:
    assert known.status is not None
    return STATUS[known.status]


async def _outcome(
    client: Client, known: WorkflowExecutionDescription
) -> tuple[Any, Problem | None]:
    if status_of(known) is OperationStatus.RUNNING:
        return None, None
    handle = client.get_workflow_handle(known.id, run_id=known.run_id)
    try:
        return await handle.result(rpc_timeout=RPC_TIMEOUT), None
    except WorkflowFailureError as error:
        return None, problem_of(failure_of(error.cause))


async def update(platform: Platform, workflow_id: str, name: str, argument: BaseModel) -> Any:
    """Run an update to its end and return what it returned."""
    client = await platform.temporal.client()
    handle = client.get_workflow_handle(workflow_id)
    update_id = str(uuid4())

    async def execute() -> Any:
        return await handle.execute_update(name, argument, id=update_id)

    async with translated(workflow_id):
        return await asyncio.wait_for(despite_lost_tasks(execute), UPDATE_SECONDS)


async def despite_lost_tasks(execute: Callable[[], Awaitable[Any]]) -> Any:
    """Send an update again that went down with its workflow task.

    When a workflow closes in answer to an update while one of its activities ends at the same
    moment, the server drops the task and the update with it. The update's id makes it safe.
    """
    for _ in range(LOST_TASKS):
        try:
            return await execute()
        except RPCError as error:
            if "unexpected workflow task failure" not in error.message:
                raise
    return await execute()


async def cancel(platform: Platform, workflow_id: str, reason: str) -> None:
    """Ask the workflow to stop and clean up after itself."""
    client = await platform.temporal.client()
    async with translated(workflow_id):
        handle = client.get_workflow_handle(workflow_id)
        if status_of(await handle.describe(rpc_timeout=RPC_TIMEOUT)) is not OperationStatus.RUNNING:
            raise Conflict(f"{workflow_id} has ended already")
        await handle.cancel(reason=reason, rpc_timeout=RPC_TIMEOUT)
