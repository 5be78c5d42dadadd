"""The registry's schedules: made once, changed where something is named, never reset."""

import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, ScheduleUpdate, ScheduleUpdateInput
from temporalio.testing import WorkflowEnvironment

from fleetwide.models.registry_gc import UpkeepKind, UpkeepSchedule
from fleetwide.temporal import upkeep
from fleetwide.temporal.converter import data_converter
from fleetwide.temporal.search_attributes import ALL
from fleetwide.temporal.upkeep import BY_DEFAULT, REQUESTS, change, changes_of, ensure
from workers.control import schedule_upkeep

TEMPORAL = Path(sys.executable).with_name("temporal")
HOUR = timedelta(hours=1)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(TEMPORAL),
        data_converter=data_converter,
        search_attributes=ALL,
    ) as environment:
        yield environment.client


async def exists(client: Client, kind: UpkeepKind) -> bool:
    return await upkeep.described(client, kind) is not None


async def seen(client: Client, kind: UpkeepKind) -> tuple[timedelta, bool, dict[str, Any]]:
    """Interval, whether it is paused, and what each run gets."""
    found = await upkeep.described(client, kind)
    assert found is not None
    action: Any = found.schedule.action
    [request] = await client.data_converter.decode(list(action.args), [REQUESTS[kind]])
    every = upkeep.interval_of(found.schedule)
    return every, found.schedule.state.paused, request.model_dump(mode="json")


async def put(client: Client, **named: Any) -> None:
    await change(client, changes_of(UpkeepSchedule(**named)))


async def test_the_registrys_schedules_from_first_to_last(client: Client) -> None:
    """One server for all: each step relies on the one before."""
    assert await ensure(client) == list(BY_DEFAULT)
    assert await ensure(client) == []
    for kind, every in BY_DEFAULT.items():
        found = await seen(client, kind)
        assert found[:2] == (every, False)

    # Only what is named changes.
    await put(client, gc_minutes=30)
    await put(client, adoption="alarm")
    gc, reconcile = [
        await seen(client, kind) for kind in (UpkeepKind.GARBAGE, UpkeepKind.RECONCILE)
    ]
    assert gc[0] == HOUR / 2
    assert (reconcile[0], reconcile[2]["adoption"]) == (24 * HOUR, "alarm")
    await put(client, reconcile_hours=12)
    changed = await seen(client, UpkeepKind.RECONCILE)
    assert (changed[0], changed[2]["adoption"]) == (12 * HOUR, "alarm")

    # A report waits for no longer than until the next.
    await put(client, retention_hours=10, retention_apply=True)
    await put(client, retention_hours=20)
    retention = await seen(client, UpkeepKind.RETENTION)
    assert (retention[2]["wait_hours"], retention[2]["apply"]) == (18.0, True)

    # What somebody has ended or paused is not brought back by a worker that starts.
    await put(client, scrub_hours=None)
    handle = client.get_schedule_handle(upkeep.schedule_id(UpkeepKind.GARBAGE))
    await handle.pause(note="we move")
    await schedule_upkeep(client)
    assert not await exists(client, UpkeepKind.SCRUB)
    await put(client, gc_minutes=15)
    paused = await seen(client, UpkeepKind.GARBAGE)
    assert paused[:2] == (HOUR / 4, True)
    await put(client, scrub_hours=24)
    scrub = await seen(client, UpkeepKind.SCRUB)
    assert scrub[:2] == (24 * HOUR, False)

    # Also what somebody has changed at Temporal itself.
    def rarely(known: ScheduleUpdateInput) -> ScheduleUpdate:
        known.description.schedule.spec.intervals[0].every = 99 * HOUR
        return ScheduleUpdate(known.description.schedule)

    await client.get_schedule_handle(upkeep.schedule_id(UpkeepKind.SCRUB)).update(rarely)
    await put(client, scrub_bytes_per_second="1MiB")
    rare = await seen(client, UpkeepKind.SCRUB)
    assert (rare[0], rare[2]["bytes_per_second"]) == (99 * HOUR, 1024**2)


async def test_never_is_remembered_also_for_what_there_never_was(client: Client) -> None:
    await put(client, gc_minutes=None)
    assert not await exists(client, UpkeepKind.GARBAGE)
    assert await ensure(client) == [kind for kind in BY_DEFAULT if kind is not UpkeepKind.GARBAGE]
    assert not await exists(client, UpkeepKind.GARBAGE)


def test_nothing_named_is_no_change() -> None:
    assert changes_of(UpkeepSchedule()) == []
