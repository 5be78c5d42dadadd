"""What the registry does by itself, as Temporal Schedules; and questions to its workflows."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from pydantic import BaseModel
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from api.deps import Platform
from api.lifecycles import CONTROL_QUEUE, RPC_TIMEOUT, Start, translated
from fleetwide.errors import NotFound
from fleetwide.models.registry_gc import (
    GarbageRequest,
    GarbageStatus,
    ReconcileRequest,
    ScrubRequest,
    UpkeepEntry,
    UpkeepKind,
    UpkeepSchedule,
)
from fleetwide.models.registry_retention import RegistryRetentionRequest
from fleetwide.temporal import search_attributes as attributes

TYPES = {
    UpkeepKind.GARBAGE: "RegistryGarbageCollection",
    UpkeepKind.RECONCILE: "RegistryReconcile",
    UpkeepKind.SCRUB: "RegistryScrub",
    UpkeepKind.RETENTION: "RegistryRetention",
}
SUMMARIES = {
    UpkeepKind.GARBAGE: "remove what nobody needs from the registry",
    UpkeepKind.RECONCILE: "compare the registry's index with its storage",
    UpkeepKind.SCRUB: "read the registry's blobs again",
    UpkeepKind.RETENTION: "report which tags the policy's rules let go",
}
RUNNING = "WorkflowType = 'RegistryGarbageCollection' AND ExecutionStatus = 'Running'"
CATCH_UP = timedelta(hours=1)


def workflow_id(kind: UpkeepKind, name: str) -> str:
    return f"registry-{kind}/{name}"


def start_of(kind: UpkeepKind, name: str, request: BaseModel, summary: str = "") -> Start:
    """One run of the upkeep."""
    return Start(
        workflow_type=TYPES[kind],
        workflow_id=workflow_id(kind, name),
        spec=request,
        summary=summary or SUMMARIES[kind],
        attributes=attributes.pairs({attributes.PRODUCT: "registry"}),
    )


@dataclass(frozen=True)
class _Wanted:
    kind: UpkeepKind
    every: timedelta
    request: BaseModel


def _wanted(asked: UpkeepSchedule) -> Iterator[_Wanted]:
    if asked.gc_minutes is not None:
        yield _Wanted(UpkeepKind.GARBAGE, timedelta(minutes=asked.gc_minutes), GarbageRequest())
    if asked.reconcile_hours is not None:
        request = ReconcileRequest(adoption=asked.adoption)
        yield _Wanted(UpkeepKind.RECONCILE, timedelta(hours=asked.reconcile_hours), request)
    if asked.scrub_hours is not None:
        scrub = ScrubRequest(bytes_per_second=asked.scrub_bytes_per_second)
        yield _Wanted(UpkeepKind.SCRUB, timedelta(hours=asked.scrub_hours), scrub)
    if asked.retention_hours is not None:
        # A report that nobody applies ends before the next is due, which would be left out else.
        retention = RegistryRetentionRequest(
            apply=asked.retention_apply, wait_hours=asked.retention_hours * 0.9
        )
        yield _Wanted(UpkeepKind.RETENTION, timedelta(hours=asked.retention_hours), retention)


async def put(platform: Platform, asked: UpkeepSchedule) -> None:
    """Create or change the schedules; those that are not asked for go."""
    client = await platform.temporal.client()
    wanted = {one.kind: one for one in _wanted(asked)}
    for kind in UpkeepKind:
        handle = client.get_schedule_handle(_schedule_id(kind))
        async with translated(handle.id):
            if kind in wanted:
                await _put(client, wanted[kind])
            elif await _described(client, kind):
                await handle.delete(rpc_timeout=RPC_TIMEOUT)


def _schedule_id(kind: UpkeepKind) -> str:
    return workflow_id(kind, "scheduled")


async def _put(client: Client, one: _Wanted) -> None:
    start = start_of(one.kind, "scheduled", one.request)
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            start.workflow_type,
            start.spec,
            id=start.workflow_id,
            task_queue=CONTROL_QUEUE,
            typed_search_attributes=start.attributes,
            static_summary=start.summary,
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=one.every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
    )

    def changed(_known: ScheduleUpdateInput) -> ScheduleUpdate:
        return ScheduleUpdate(schedule)

    try:
        await client.create_schedule(
            start.workflow_id, schedule, search_attributes=start.attributes, rpc_timeout=RPC_TIMEOUT
        )
    except ScheduleAlreadyRunningError:
        handle = client.get_schedule_handle(start.workflow_id)
        await handle.update(changed, rpc_timeout=RPC_TIMEOUT)


async def entries(platform: Platform) -> list[UpkeepEntry]:
    """The schedules that there are."""
    client = await platform.temporal.client()
    known = [(kind, await _described(client, kind)) for kind in UpkeepKind]
    return [_entry(kind, found) for kind, found in known if found is not None]


async def _described(client: Client, kind: UpkeepKind) -> ScheduleDescription | None:
    handle = client.get_schedule_handle(_schedule_id(kind))
    try:
        async with translated(handle.id):
            return await handle.describe(rpc_timeout=RPC_TIMEOUT)
    except NotFound:
        return None


def _entry(kind: UpkeepKind, known: ScheduleDescription) -> UpkeepEntry:
    last = [
        one.action.workflow_id
        for one in reversed(known.info.recent_actions)
        if isinstance(one.action, ScheduleActionExecutionStartWorkflow)
    ]
    return UpkeepEntry(
        kind=kind,
        id=known.id,
        paused=known.schedule.state.paused,
        next=list(known.info.next_action_times)[:3],
        last=last,
    )


async def running(platform: Platform) -> list[str]:
    """Workflow ids of collections under way."""
    client = await platform.temporal.client()
    async with translated("collections"):
        return [one.id async for one in client.list_workflows(RUNNING, rpc_timeout=RPC_TIMEOUT)]


async def status(platform: Platform, name: str) -> GarbageStatus:
    """Where a collection stands, also one that has ended."""
    client = await platform.temporal.client()
    handle = client.get_workflow_handle(workflow_id(UpkeepKind.GARBAGE, name))
    async with translated(handle.id):
        answer = await handle.query("status", rpc_timeout=RPC_TIMEOUT)
    return GarbageStatus.model_validate(answer)
