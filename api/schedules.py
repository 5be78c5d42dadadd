"""What an OS line does by itself, as Temporal Schedules: start, look at, pause, remove."""

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from pydantic import BaseModel
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from api.deps import Platform
from api.lifecycles import CONTROL_QUEUE, REQUEST_MEMO, RPC_TIMEOUT, Start, translated
from fleetwide.errors import NotFound
from fleetwide.models.baseos import OSImageSpec, RebuildOn
from fleetwide.models.os_documents import (
    LineSchedule,
    ScheduleDocument,
    ScheduledStart,
    ScheduleEntry,
    ScheduleKind,
)
from fleetwide.models.os_releases import StandRequest
from fleetwide.models.os_reports import RetentionRequest
from fleetwide.temporal import search_attributes as attributes

CATCH_UP = timedelta(hours=1)
LINES_QUERY = f"{attributes.PRODUCT.name} = 'baseos'"


@dataclass(frozen=True)
class Wanted:
    """One schedule as it shall be."""

    kind: ScheduleKind
    spec: ScheduleSpec
    start: Start


def schedule_id(name: str, kind: ScheduleKind) -> str:
    """The schedule's id, and what the ids of its workflows begin with; Temporal adds the time."""
    return f"os/{name}/{kind}"


def line_page(name: str) -> str:
    return f"/v1/os/schedules/{name}"


def wanted(name: str, line: LineSchedule) -> Iterator[Wanted]:
    """The schedules that a line asks for."""
    hour, minute = (int(part) for part in line.daily_at.split(":"))
    nightly = ScheduleSpec(
        calendars=[ScheduleCalendarSpec(hour=[ScheduleRange(hour)], minute=[ScheduleRange(minute)])]
    )
    daily = line.spec.model_copy(update={"rebuild_on": RebuildOn.ANY})
    yield _build(ScheduleKind.DAILY, nightly, daily)
    if line.security_minutes is not None:
        every = ScheduleIntervalSpec(every=timedelta(minutes=line.security_minutes))
        security = line.spec.model_copy(update={"rebuild_on": RebuildOn.SECURITY})
        yield _build(ScheduleKind.SECURITY, ScheduleSpec(intervals=[every]), security)
    if line.retention:
        request = RetentionRequest(name=name, retention=line.spec.retention)
        summary = f"retire the releases of {name} that its policy lets go"
        start = _start("OSRetention", ScheduleKind.RETENTION, line.spec, request, summary)
        yield Wanted(ScheduleKind.RETENTION, nightly, start)


def _build(kind: ScheduleKind, when: ScheduleSpec, spec: OSImageSpec) -> Wanted:
    summary = f"{kind} build of {spec.name}: {spec.distribution} {spec.suite}"
    return Wanted(kind, when, _start("OSImageBuild", kind, spec, spec, summary))


def _start(
    workflow_type: str, kind: ScheduleKind, spec: OSImageSpec, argument: BaseModel, summary: str
) -> Start:
    return Start(
        workflow_type=workflow_type,
        workflow_id=schedule_id(spec.name, kind),
        spec=argument,
        summary=summary,
        attributes=attributes.pairs(
            {
                attributes.APP: spec.name,
                attributes.OWNER: spec.owner,
                attributes.PRODUCT: "baseos",
            }
        ),
    )


async def put(platform: Platform, name: str, line: LineSchedule) -> None:
    """Create or change the line's schedules; those that it no longer asks for go."""
    client = await platform.temporal.client()
    asked = {one.kind: one for one in wanted(name, line)}
    note = _note(line.spec)
    for kind in ScheduleKind:
        handle = client.get_schedule_handle(schedule_id(name, kind))
        async with translated(handle.id):
            if kind in asked:
                await _put(client, asked[kind].start, _schedule(platform, asked[kind], note))
            elif await _described(client, name, kind):
                await handle.delete(rpc_timeout=RPC_TIMEOUT)


def _note(spec: OSImageSpec) -> str:
    owner = f"owned by {spec.owner}; " if spec.owner else ""
    return f"{owner}changed by: fleetwide os schedule set"


def _schedule(platform: Platform, one: Wanted, note: str) -> Schedule:
    start = one.start
    page = f"{platform.settings.api_url.rstrip('/')}{line_page(start.workflow_id.split('/')[1])}"
    action = ScheduleActionStartWorkflow(
        start.workflow_type,
        start.spec,
        id=start.workflow_id,
        task_queue=CONTROL_QUEUE,
        memo={REQUEST_MEMO: start.fingerprint},
        typed_search_attributes=start.attributes,
        static_summary=start.summary,
        static_details=f"{start.summary}\n\n- [schedules of the line]({page})",
    )
    # A build stays open as its release's lifecycle: the next one must not wait for its end.
    policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL, catchup_window=CATCH_UP)
    return Schedule(action=action, spec=one.spec, policy=policy, state=ScheduleState(note=note))


async def _put(client: Client, start: Start, schedule: Schedule) -> None:
    def changed(known: ScheduleUpdateInput) -> ScheduleUpdate:
        state = known.description.schedule.state
        if state.paused:  # and its note says why
            return ScheduleUpdate(dataclasses.replace(schedule, state=state))
        return ScheduleUpdate(schedule)

    try:
        await client.create_schedule(
            start.workflow_id, schedule, search_attributes=start.attributes, rpc_timeout=RPC_TIMEOUT
        )
    except ScheduleAlreadyRunningError:
        handle = client.get_schedule_handle(start.workflow_id)
        await handle.update(changed, rpc_timeout=RPC_TIMEOUT)


async def find(platform: Platform, name: str) -> ScheduleDocument:
    """What the line does by itself.

    Raises:
        NotFound: it does nothing by itself.
    """
    client = await platform.temporal.client()
    known = await asyncio.gather(*(_described(client, name, kind) for kind in ScheduleKind))
    found = dict(zip(ScheduleKind, known, strict=True))
    daily, security = found[ScheduleKind.DAILY], found[ScheduleKind.SECURITY]
    if daily is None:
        raise _none(name)
    time = daily.schedule.spec.calendars[0]
    every = security.schedule.spec.intervals[0].every if security else None
    return ScheduleDocument(
        name=name,
        spec=await _spec_of(client, daily),
        daily_at=f"{time.hour[0].start:02}:{time.minute[0].start:02}",
        security_minutes=int(every.total_seconds()) // 60 if every else None,
        retention=found[ScheduleKind.RETENTION] is not None,
        entries=[_entry(kind, one) for kind, one in found.items() if one],
        links={"self": line_page(name)},
    )


async def _described(client: Client, name: str, kind: ScheduleKind) -> ScheduleDescription | None:
    handle = client.get_schedule_handle(schedule_id(name, kind))
    try:
        async with translated(handle.id):
            return await handle.describe(rpc_timeout=RPC_TIMEOUT)
    except NotFound:
        return None


async def _spec_of(client: Client, daily: ScheduleDescription) -> OSImageSpec:
    action = daily.schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)
    [spec] = await client.data_converter.decode(list(action.args), [OSImageSpec])
    assert isinstance(spec, OSImageSpec)
    return spec


def _entry(kind: ScheduleKind, known: ScheduleDescription) -> ScheduleEntry:
    state = known.schedule.state
    last = [
        ScheduledStart(at=one.started_at, workflow_id=one.action.workflow_id)
        for one in reversed(known.info.recent_actions)
        if isinstance(one.action, ScheduleActionExecutionStartWorkflow)
    ]
    return ScheduleEntry(
        kind=kind,
        id=known.id,
        paused=state.paused,
        note=state.note or "",
        next=list(known.info.next_action_times),
        last=last,
    )


def _none(name: str) -> NotFound:
    return NotFound(f"OS line {name} has no schedule", hint="fleetwide os schedule list")


async def every_line(platform: Platform) -> list[ScheduleDocument]:
    """All lines that do something by themselves, by name."""
    client = await platform.temporal.client()
    async with translated("schedules"):
        listed = await client.list_schedules(LINES_QUERY, rpc_timeout=RPC_TIMEOUT)
        ids = [one.id async for one in listed]
    suffix = f"/{ScheduleKind.DAILY}"
    names = sorted(
        {one.removeprefix("os/").removesuffix(suffix) for one in ids if one.endswith(suffix)}
    )
    documents = []
    for name in names:
        with suppress(NotFound):  # removed a moment ago
            documents.append(await find(platform, name))
    return documents


async def pause(platform: Platform, name: str, request: StandRequest) -> None:
    """Let the times pass without a start, until ``resume``."""
    for handle in await _handles(platform, name):
        async with translated(handle.id):
            await handle.pause(note=_reason("paused", request), rpc_timeout=RPC_TIMEOUT)


async def resume(platform: Platform, name: str, request: StandRequest) -> None:
    """Go on; what was missed meanwhile is not made up for."""
    for handle in await _handles(platform, name):
        async with translated(handle.id):
            await handle.unpause(note=_reason("resumed", request), rpc_timeout=RPC_TIMEOUT)


async def remove(platform: Platform, name: str) -> None:
    """The line does nothing by itself any more; builds that are running go on."""
    for handle in await _handles(platform, name):
        async with translated(handle.id):
            await handle.delete(rpc_timeout=RPC_TIMEOUT)


async def _handles(platform: Platform, name: str) -> list[ScheduleHandle]:
    client = await platform.temporal.client()
    known = [await _described(client, name, kind) for kind in ScheduleKind]
    if not any(known):
        raise _none(name)
    return [client.get_schedule_handle(one.id) for one in known if one]


def _reason(what: str, request: StandRequest) -> str:
    by = f" by {request.by}" if request.by else ""
    return f"{what}{by}: {request.reason}"
