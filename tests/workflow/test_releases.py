"""``OSImageBuild`` and ``Bake`` on real servers, with a scripted builder."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError

from fleetwide.errors import BuildFailed
from fleetwide.store import images, releases
from tests.workflow.world import World, world

SPEC = {"name": "baseos", "suite": "bookworm", "version": "1"}
BAKE = {
    "name": "hello",
    "version": "1.0",
    "base": "baseos:stable",
    "artifacts": [{"type": "tarball", "sha256": "a" * 64, "filename": "hello.tar"}],
}


async def build(plane: World, version: str = "1") -> Any:
    spec = {**SPEC, "version": version}
    handle = await plane.start("OSImageBuild", spec, f"os/baseos/{version}")

    async def candidate() -> bool:
        found: dict[str, Any] = await handle.query("status")
        return bool(found["state"] == "candidate")

    await plane.until(candidate)
    return handle


def pointers(plane: World) -> dict[str, str]:
    with plane.store.read() as session:
        return {row.channel: row.version for row in releases.channels(session, "baseos")}


def state(plane: World, version: str = "1") -> str:
    with plane.store.read() as session:
        row = releases.find(session, "baseos", version)
        assert row is not None
        return row.state


async def test_a_build_is_a_candidate_until_it_is_promoted(plane: World) -> None:
    handle = await build(plane)
    assert pointers(plane) == {"candidate": "1"}
    promoted = await handle.execute_update("promote", {"channel": "stable"})
    assert promoted["state"] == "stable"
    assert (await handle.result())["image_digest"] == promoted["image_digest"]
    assert pointers(plane) == {"candidate": "1", "stable": "1"}


async def test_a_newer_stable_release_supersedes_the_one_before(plane: World) -> None:
    for version in ("1", "2"):
        handle = await build(plane, version)
        await handle.execute_update("promote", {})
    assert (state(plane, "1"), state(plane, "2")) == ("superseded", "stable")
    assert pointers(plane)["stable"] == "2"


async def test_promotion_is_refused_before_there_is_a_candidate(plane: World) -> None:
    plane.builder.stuck = True
    handle = await plane.start("OSImageBuild", SPEC, "os/baseos/1")
    await plane.until(lambda: plane.builder.builds)
    for argument in ({}, {"channel": "candidate"}, {"channel": "golden"}):
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update("promote", argument)
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert (state(plane), pointers(plane)) == ("withdrawn", {})


async def test_a_withdrawn_candidate_leaves_its_channel(plane: World) -> None:
    handle = await build(plane)
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
    assert (state(plane), pointers(plane)) == ("withdrawn", {})


async def test_a_failed_build_says_why_and_its_version_can_be_built_again(plane: World) -> None:
    plane.builder.fault = BuildFailed("E: Unable to locate package nonsense")
    handle = await plane.start("OSImageBuild", SPEC, "os/baseos/1")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.message) == ("BuildFailed", "E: Unable to locate package nonsense")
    assert state(plane) == "failed"
    plane.builder.fault = None
    await build(plane)


async def test_a_version_that_is_taken_is_a_conflict(plane: World) -> None:
    await build(plane)
    handle = await plane.start("OSImageBuild", SPEC, "os/another-id")
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "Conflict"
    assert pointers(plane) == {"candidate": "1"}


async def test_without_a_version_the_day_and_a_number_are_taken(plane: World) -> None:
    spec = {"name": "baseos", "suite": "bookworm"}
    today = datetime.now(UTC).strftime("%Y%m%d")
    for number in (1, 2):
        handle = await plane.start("OSImageBuild", spec, f"os/baseos/auto{number}")

        async def version(running: Any = handle) -> Any:
            found = (await running.query("status"))["release"]
            return found["version"] if found else None

        assert await plane.until(version) in (f"{today}.{number}", f"{today}.1")


async def test_a_candidate_that_nobody_promotes_ends_by_itself(tmp_path: Path) -> None:
    async with world(tmp_path, skipping=True) as plane:
        handle = await plane.start("OSImageBuild", SPEC, "os/baseos/1")
        assert (await handle.result())["state"] == "candidate"
        assert pointers(plane) == {"candidate": "1"}


async def upload(plane: World) -> None:
    with plane.store.write() as session:
        images.save_artifact(session, "a" * 64, "hello.tar", 10, now=datetime.now(UTC))


async def test_a_second_identical_bake_is_answered_without_a_build(plane: World) -> None:
    release = await build(plane)
    await release.execute_update("promote", {})
    await upload(plane)
    plane.builder.builds = 0
    first = await (await plane.start("Bake", BAKE, "bake/1")).result()
    second = await (await plane.start("Bake", {**BAKE, "owner": "me"}, "bake/2")).result()
    assert first == second
    assert plane.builder.builds == 1


async def test_a_bake_without_its_base_or_its_upload_fails_at_once(plane: World) -> None:
    async def fault(spec: dict[str, Any], workflow_id: str) -> str:
        with pytest.raises(WorkflowFailureError) as caught:
            await (await plane.start("Bake", spec, workflow_id)).result()
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.type == "NotFound"
        return caught.value.cause.message

    assert "baseos:stable" in await fault(BAKE, "bake/no-base")
    await (await build(plane)).execute_update("promote", {})
    assert "was never uploaded" in await fault(BAKE, "bake/no-upload")


async def test_cancel_stops_a_bake(plane: World) -> None:
    await (await build(plane)).execute_update("promote", {})
    await upload(plane)
    plane.builder.stuck = True
    handle = await plane.start("Bake", BAKE, "bake/c")
    await plane.until(lambda: plane.builder.builds == 2)
    await handle.cancel()
    await plane.until_status(handle, WorkflowExecutionStatus.CANCELED)
