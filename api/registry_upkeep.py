"""What the registry does by itself, as Temporal Schedules; and questions to its workflows."""

from datetime import timedelta

from pydantic import BaseModel
from temporalio.client import ScheduleActionExecutionStartWorkflow, ScheduleDescription

from api.deps import Platform
from api.lifecycles import RPC_TIMEOUT, Start, translated
from fleetwide.models.registry_gc import (
    GarbageStatus,
    UpkeepEntry,
    UpkeepKind,
    UpkeepSchedule,
)
from fleetwide.temporal import search_attributes as attributes
from fleetwide.temporal import upkeep
from fleetwide.temporal.upkeep import SUMMARIES, TYPES, workflow_id

RUNNING = "WorkflowType = 'RegistryGarbageCollection' AND ExecutionStatus = 'Running'"
HOUR = timedelta(hours=1)
RUN_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$"
"""What follows the kind in the id of a run; a schedule adds the time to its own."""


def start_of(kind: UpkeepKind, name: str, request: BaseModel, *, by: str = "") -> Start:
    """One run of the upkeep; ``by`` is who wants it, where it is not the schedule."""
    return Start(
        workflow_type=TYPES[kind],
        workflow_id=workflow_id(kind, name),
        spec=request,
        summary=f"{SUMMARIES[kind]}, for {by}" if by else SUMMARIES[kind],
        attributes=attributes.pairs({attributes.PRODUCT: "registry"}),
    )


async def put(platform: Platform, asked: UpkeepSchedule) -> None:
    """Make or change the schedules that are named; without any, make those that are missing."""
    client = await platform.temporal.client()
    changes = upkeep.changes_of(asked)
    async with translated("the registry's schedules"):
        if changes:
            await upkeep.change(client, changes)
        else:
            await upkeep.ensure(client)


async def entries(platform: Platform) -> list[UpkeepEntry]:
    """The schedules that there are."""
    client = await platform.temporal.client()
    async with translated("the registry's schedules"):
        known = [(kind, await upkeep.described(client, kind)) for kind in UpkeepKind]
    return [_entry(kind, found) for kind, found in known if found is not None]


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
        every_hours=upkeep.interval_of(known.schedule) / HOUR,
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
