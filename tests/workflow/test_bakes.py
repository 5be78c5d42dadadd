"""``Bake`` on a real server, with a scripted builder."""

from datetime import UTC, datetime
from typing import Any

from fleetwide.store import images
from tests.workflow.os_lines import build, cancel, failure, until_step
from tests.workflow.world import World

BAKE = {
    "name": "hello",
    "version": "1.0",
    "base": "baseos:stable",
    "artifacts": [{"type": "tarball", "sha256": "a" * 64, "filename": "hello.tar"}],
}


async def upload(plane: World) -> None:
    with plane.store.write() as session:
        images.save_artifact(session, "a" * 64, "hello.tar", 10, now=datetime.now(UTC))


async def test_a_second_identical_bake_is_answered_without_a_build(plane: World) -> None:
    release = await build(plane)
    await release.execute_update("promote", {})
    await upload(plane)
    first = await (await plane.start("Bake", BAKE, "bake/1")).result()
    second = await (await plane.start("Bake", {**BAKE, "owner": "me"}, "bake/2")).result()
    assert first == second
    assert plane.builder.steps.count("build_image") == 1


async def test_a_bake_without_its_base_or_its_upload_fails_at_once(plane: World) -> None:
    async def fault(spec: dict[str, Any], workflow_id: str) -> str:
        told = await failure(await plane.start("Bake", spec, workflow_id))
        assert told.type == "NotFound"
        return told.message

    assert "baseos:stable" in await fault(BAKE, "bake/no-base")
    await (await build(plane)).execute_update("promote", {})
    assert "was never uploaded" in await fault(BAKE, "bake/no-upload")


async def test_cancel_stops_a_bake(plane: World) -> None:
    await (await build(plane)).execute_update("promote", {})
    await upload(plane)
    plane.builder.stuck_at.add("build_image")
    handle = await plane.start("Bake", BAKE, "bake/c")
    await until_step(plane, "build_image")
    await cancel(plane, handle)


async def test_a_bake_takes_what_the_channel_means_at_its_start(plane: World) -> None:
    await upload(plane)
    for version in ("1", "2"):
        handle = await build(plane, version)
        await handle.execute_update("promote", {})
        image = await (await plane.start("Bake", BAKE, f"bake/{version}")).result()
        assert image["base_version"] == version
