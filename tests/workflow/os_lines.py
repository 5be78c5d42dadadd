"""OS builds for tests: start them, wait for them, and look into the books."""

from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ActivityError, ApplicationError

from fleetwide.models.os_releases import ChannelMove
from fleetwide.store import channels, releases
from tests.workflow.world import World

Handle = WorkflowHandle[Any, Any]

SPEC = {"name": "baseos", "suite": "bookworm"}
BOTH: dict[str, Any] = {"targets": ["container", "vm"]}
AMIS: dict[str, Any] = {
    **BOTH,
    "ami": {"regions": ["eu-west-1", "us-east-2"], "accounts": ["1" * 12]},
}
HOME_AMI = "ami-eu-west-1-baseos-1"
WHY = {"reason": "it is broken", "by": "ada"}


async def start(plane: World, version: str = "1", **spec: Any) -> Handle:
    """A build under its usual id."""
    given = {**SPEC, "version": version, **spec}
    return await plane.start("OSImageBuild", given, f"os/{given['name']}/{version}")


async def build(plane: World, version: str = "1", **spec: Any) -> Handle:
    """A build that has come as far as a candidate."""
    handle = await start(plane, version, **spec)
    await until_state(plane, handle, "candidate")
    return handle


async def until_state(plane: World, handle: Handle, state: str) -> None:
    async def reached() -> bool:
        return bool((await handle.query("status"))["state"] == state)

    await plane.until(reached)


async def until_step(plane: World, step: str, times: int = 1) -> None:
    """Wait until the builder or the cloud has begun the step so often."""
    await plane.until(lambda: plane.builder.steps.count(step) >= times)


async def cancel(plane: World, handle: Handle) -> None:
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)


async def refusal(handle: Handle, update: str, argument: Any) -> ApplicationError:
    """Why an update is refused."""
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await handle.execute_update(update, argument)
    cause: BaseException = caught.value.cause
    if isinstance(cause, ActivityError):
        assert cause.cause is not None
        cause = cause.cause
    assert isinstance(cause, ApplicationError)
    return cause


async def failure(handle: Handle) -> ApplicationError:
    """Why a workflow failed."""
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


def pointers(plane: World, name: str = "baseos") -> dict[str, str]:
    with plane.store.read() as session:
        return {row.channel: row.version for row in channels.listing(session, name)}


def states(plane: World, name: str = "baseos") -> dict[str, str]:
    """Version to state, as the books have it."""
    with plane.store.read() as session:
        return {row.version: row.state for row in releases.listing(session, name=name)}


def history(plane: World, name: str = "baseos") -> list[ChannelMove]:
    """The moves of the line's channels, oldest first."""
    with plane.store.read() as session:
        return channels.history(session, name)[::-1]


def booked(plane: World, version: str = "1") -> dict[str, Any]:
    with plane.store.read() as session:
        row = releases.find(session, "baseos", version)
        assert row is not None
        return dict(row.release)


def grow_old(plane: World, *versions: str, name: str = "baseos") -> None:
    """Make the releases a year old."""
    with plane.store.write() as session:
        for version in versions:
            row = releases.find(session, name, version)
            assert row is not None
            before = releases.to_model(session, row).created_at - timedelta(days=365)
            row.release = {**row.release, "created_at": before.isoformat()}
            session.add(row)
