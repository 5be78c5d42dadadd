"""The registry's upkeep as Temporal Schedules: made once, and then people's to change.

What is not named in a change stays as it is. "Never" pauses a schedule and does not delete it, so
that a process which makes what is missing does not bring back what somebody has ended.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from fleetwide.models.registry_gc import (
    GarbageRequest,
    ReconcileRequest,
    ScrubRequest,
    UpkeepKind,
    UpkeepSchedule,
)
from fleetwide.models.registry_retention import RegistryRetentionRequest
from fleetwide.temporal import search_attributes as attributes

CONTROL_QUEUE = "control"
RPC_TIMEOUT = timedelta(seconds=10)
CATCH_UP = timedelta(hours=1)
NEVER = "never"
"""The note of a schedule that somebody ended."""
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
REQUESTS: dict[UpkeepKind, type[BaseModel]] = {
    UpkeepKind.GARBAGE: GarbageRequest,
    UpkeepKind.RECONCILE: ReconcileRequest,
    UpkeepKind.SCRUB: ScrubRequest,
    UpkeepKind.RETENTION: RegistryRetentionRequest,
}
BY_DEFAULT = {
    UpkeepKind.GARBAGE: timedelta(hours=1),
    UpkeepKind.RECONCILE: timedelta(days=1),
    UpkeepKind.SCRUB: timedelta(days=7),
    UpkeepKind.RETENTION: timedelta(days=1),
}
RETENTION_WAITS = 0.9
"""Part of its interval that a report waits for ``apply``: the next would be left out else."""


@dataclass(frozen=True)
class Change:
    """What somebody named of one kind of upkeep."""

    kind: UpkeepKind
    settings: dict[str, Any]
    """Of the request that each run gets."""
    every: timedelta | None = None
    """None where it was not named."""
    never: bool = False


def schedule_id(kind: UpkeepKind) -> str:
    return workflow_id(kind, "scheduled")


def workflow_id(kind: UpkeepKind, name: str) -> str:
    return f"registry-{kind}/{name}"


def changes_of(asked: UpkeepSchedule) -> list[Change]:
    """What was named, by kind."""
    named = asked.model_fields_set
    given = {name: getattr(asked, name) for name in named}
    parts: tuple[tuple[UpkeepKind, str, int, dict[str, str]], ...] = (
        (UpkeepKind.GARBAGE, "gc_minutes", 1, {}),
        (UpkeepKind.RECONCILE, "reconcile_hours", 60, {"adoption": "adoption"}),
        (UpkeepKind.SCRUB, "scrub_hours", 60, {"scrub_bytes_per_second": "bytes_per_second"}),
        (UpkeepKind.RETENTION, "retention_hours", 60, {"retention_apply": "apply"}),
    )
    found = []
    for kind, interval, minutes, renamed in parts:
        settings = {to: given[name] for name, to in renamed.items() if name in named}
        count = given.get(interval)
        if interval in named or settings:
            every = None if count is None else timedelta(minutes=count * minutes)
            never = interval in named and count is None
            found.append(Change(kind, settings, every, never))
    return found


async def ensure(client: Client) -> list[UpkeepKind]:
    """Make the schedules that there are not yet, as they are by default; which these were.

    Raises:
        RPCError: Temporal does not answer.
    """
    made = []
    for kind, every in BY_DEFAULT.items():
        if await _create(client, kind, _schedule(kind, every, _request(kind, every, {}, None))):
            made.append(kind)
    return made


async def change(client: Client, changes: Iterable[Change]) -> None:
    """Make or change what is named, and leave all else as it is.

    Raises:
        RPCError: Temporal does not answer.
    """
    for one in changes:
        every = one.every or BY_DEFAULT[one.kind]
        fresh = _schedule(one.kind, every, _request(one.kind, every, one.settings, None))
        if one.never:
            fresh.state = ScheduleState(note=NEVER, paused=True)
        if not await _create(client, one.kind, fresh):
            await _update(client, one)


async def _create(client: Client, kind: UpkeepKind, schedule: Schedule) -> bool:
    pairs = attributes.pairs({attributes.PRODUCT: "registry"})
    try:
        await client.create_schedule(
            schedule_id(kind), schedule, search_attributes=pairs, rpc_timeout=RPC_TIMEOUT
        )
    except ScheduleAlreadyRunningError:
        return False
    return True


async def _update(client: Client, one: Change) -> None:
    async def changed(known: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = known.description.schedule
        every = one.every or interval_of(schedule)
        action = schedule.action
        if isinstance(action, ScheduleActionStartWorkflow):
            before = await _known_request(client, one.kind, action)
            action.args = [_request(one.kind, every, one.settings, before)]
        if one.every is not None:
            schedule.spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)])
        schedule.state = _state(schedule.state, one)
        return ScheduleUpdate(schedule)

    await client.get_schedule_handle(schedule_id(one.kind)).update(changed, rpc_timeout=RPC_TIMEOUT)


def _state(before: ScheduleState, one: Change) -> ScheduleState:
    """Whom somebody has paused at Temporal stays paused, unless it was by "never"."""
    if one.never:
        return ScheduleState(note=NEVER, paused=True)
    return ScheduleState() if one.every is not None and before.note == NEVER else before


async def _known_request(
    client: Client, kind: UpkeepKind, action: ScheduleActionStartWorkflow
) -> BaseModel | None:
    payloads = [one for one in action.args if isinstance(one, Payload)]
    decoded = await client.data_converter.decode(payloads, [REQUESTS[kind]])
    return decoded[0] if decoded else None


def _request(
    kind: UpkeepKind, every: timedelta, settings: dict[str, Any], before: BaseModel | None
) -> BaseModel:
    """What each run gets: what was named, else what it got before, else the defaults."""
    known = before.model_dump(exclude_unset=True) if before is not None else {}
    if kind is UpkeepKind.RETENTION:
        known["wait_hours"] = every / timedelta(hours=1) * RETENTION_WAITS
    return REQUESTS[kind].model_validate({**known, **settings})


def _schedule(kind: UpkeepKind, every: timedelta, request: BaseModel) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            TYPES[kind],
            request,
            id=schedule_id(kind),
            task_queue=CONTROL_QUEUE,
            typed_search_attributes=attributes.pairs({attributes.PRODUCT: "registry"}),
            static_summary=SUMMARIES[kind],
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
    )


def interval_of(schedule: Schedule) -> timedelta:
    """How often it runs; a schedule that somebody has given another form counts as hourly."""
    intervals = schedule.spec.intervals
    return intervals[0].every if intervals else timedelta(hours=1)


async def described(client: Client, kind: UpkeepKind) -> ScheduleDescription | None:
    """The schedule; None when there is none, or somebody ended it.

    Raises:
        RPCError: Temporal does not answer.
    """
    try:
        found = await client.get_schedule_handle(schedule_id(kind)).describe(
            rpc_timeout=RPC_TIMEOUT
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return None if found.schedule.state.note == NEVER else found
