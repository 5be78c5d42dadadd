"""``Bake`` on a real server, with a scripted builder."""

from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from fleetwide.errors import PolicyRefused, SmokeTestFailed
from fleetwide.models.bakes import BakeState, Dependency
from fleetwide.store import bakes, events, images
from fleetwide.store.tables import BakeRow
from tests.workflow.os_lines import build, cancel, failure, until_step
from tests.workflow.world import World

Handle = WorkflowHandle[Any, Any]

BAKE: dict[str, Any] = {
    "name": "hello",
    "version": "1.0",
    "base": "baseos:stable",
    "artifacts": [{"type": "tarball", "sha256": "a" * 64, "filename": "hello.tar"}],
}
DEB = {**BAKE, "artifacts": [{"type": "deb", "sha256": "a" * 64, "filename": "hello.deb"}]}
LIBFOO = Dependency(
    kind="deb",
    name="libfoo1",
    version="1.2",
    filename="libfoo1_1.2_amd64.deb",
    sha256="f" * 64,
    url="http://mirror.example/pool/libfoo1_1.2_amd64.deb",
)
STAGES = {
    "resolve_dependencies": BakeState.RESOLVING,
    "build_layer": BakeState.BUILDING,
    "smoke_test": BakeState.TESTING,
    "publish": BakeState.PUBLISHING,
}


@pytest.fixture
async def ready(plane: World) -> World:
    """A plane with a stable base and an uploaded artifact."""
    await (await build(plane)).execute_update("promote", {})
    await upload(plane)
    return plane


async def upload(plane: World) -> None:
    with plane.store.write() as session:
        images.save_artifact(session, "a" * 64, "hello.tar", 10, now=datetime.now(UTC))


async def bake(plane: World, workflow_id: str, spec: dict[str, Any] = BAKE, **more: Any) -> Any:
    return await (await plane.start("Bake", {**spec, **more}, workflow_id)).result()


def row_of(plane: World, workflow_id: str) -> BakeRow:
    with plane.store.read() as session:
        return next(row for row in bakes.listing(session) if row.workflow_id == workflow_id)


async def test_a_bake_goes_through_its_stages_and_leaves_them_in_the_books(ready: World) -> None:
    image = await bake(ready, "bake/1")
    assert (image["rebased_from"], image["smoke"]["passed"]) == (None, True)
    row = row_of(ready, "bake/1")
    stages = [stage["stage"] for stage in row.stages]
    assert stages == ["resolving", "building", "testing", "publishing", "available"]
    assert all(stage["ended_at"] for stage in row.stages[:-1])
    assert (row.state, row.bake_key) == (BakeState.AVAILABLE, image["bake_key"])
    assert row.finished_at is not None


async def test_a_bake_without_a_test_has_no_such_stage(ready: World) -> None:
    image = await bake(ready, "bake/1", smoke={"enabled": False})
    assert (image["digest"] is not None, image["smoke"]) == (True, None)
    stages = [stage["stage"] for stage in row_of(ready, "bake/1").stages]
    assert stages == ["resolving", "building", "publishing", "available"]
    assert "smoke_test" not in ready.builder.steps


async def test_nothing_is_visible_before_it_has_passed_its_test(ready: World) -> None:
    await bake(ready, "bake/1")
    steps = [step for step in ready.builder.steps if step in STAGES]
    assert steps == ["build_layer", "smoke_test", "publish"]


async def test_a_second_identical_bake_is_answered_without_a_build(ready: World) -> None:
    first = await bake(ready, "bake/1")
    second = await bake(ready, "bake/2")
    assert first == second
    assert ready.builder.steps.count("build_layer") == 1
    assert ready.builder.steps.count("publish") == 1
    assert row_of(ready, "bake/2").state == BakeState.CACHED


async def test_other_metadata_of_the_same_bytes_are_a_new_manifest_and_no_build(
    ready: World,
) -> None:
    first = await bake(ready, "bake/1")
    second = await bake(ready, "bake/2", owner="me", build={"commit": "abc123"})
    assert first["digest"] != second["digest"]
    assert second["metadata"]["org.opencontainers.image.revision"] == "abc123"
    assert first["built"] == second["built"]
    assert ready.builder.steps.count("build_layer") == 1
    with ready.store.read() as session:
        for digest in (first["digest"], second["digest"]):
            row = images.by_digest(session, digest)
            assert row is not None
            assert (row.bake_key, row.owner) == (first["bake_key"], "me")


async def test_rebake_forces(ready: World) -> None:
    await bake(ready, "bake/1")
    await bake(ready, "bake/2", rebake=True)
    assert ready.builder.steps.count("build_layer") == 2


async def test_what_an_artifact_needs_is_resolved_once_and_pinned(ready: World) -> None:
    ready.bakes.needs.append(LIBFOO)
    first = await bake(ready, "bake/1", DEB)
    ready.bakes.needs[:] = [LIBFOO.model_copy(update={"version": "1.3", "sha256": "e" * 64})]
    second = await bake(ready, "bake/2", DEB)
    assert [one["version"] for one in first["dependencies"]] == ["1.2"]
    assert first == second
    assert ready.builder.steps.count("resolve_dependencies") == 1
    third = await bake(ready, "bake/3", DEB, refresh=True)
    assert [one["version"] for one in third["dependencies"]] == ["1.3"]
    assert third["bake_key"] != first["bake_key"]


async def test_a_layer_that_fits_moves_to_a_new_release_without_a_build(ready: World) -> None:
    first = await bake(ready, "bake/1")
    await (await build(ready, "2")).execute_update("promote", {})
    second = await bake(ready, "bake/2")
    assert (second["base_version"], second["rebased_from"]) == ("2", first["bake_key"])
    assert second["built"] == first["built"]
    assert ready.builder.steps.count("build_layer") == 1
    assert ready.builder.steps.count("smoke_test") == 2


async def test_a_layer_that_does_not_fit_is_built_again(ready: World) -> None:
    ready.bakes.rebaseable = False
    await bake(ready, "bake/1")
    await (await build(ready, "2")).execute_update("promote", {})
    second = await bake(ready, "bake/2")
    assert (second["base_version"], second["rebased_from"]) == ("2", None)
    assert ready.builder.steps.count("build_layer") == 2


async def test_a_bake_without_its_base_or_its_upload_fails_at_once(plane: World) -> None:
    async def fault(spec: dict[str, Any], workflow_id: str) -> str:
        told = await failure(await plane.start("Bake", spec, workflow_id))
        assert told.type == "NotFound"
        return told.message

    assert "baseos:stable" in await fault(BAKE, "bake/no-base")
    await (await build(plane)).execute_update("promote", {})
    assert "was never uploaded" in await fault(BAKE, "bake/no-upload")


@pytest.mark.parametrize("verb", ["hold", "revoke"])
async def test_a_base_that_must_not_be_used_is_told_by_its_own_code(
    plane: World, verb: str
) -> None:
    release = await build(plane)
    await upload(plane)
    await release.execute_update(verb, {"reason": "leaks a key"})
    told = await failure(await plane.start("Bake", {**BAKE, "base": "baseos:1"}, "bake/b"))
    assert told.type == "BaseUnusable"
    assert "leaks a key" in told.message


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("build_layer", PolicyRefused("secrets: /etc/key", hint="remove it")),
        ("smoke_test", SmokeTestFailed("it ended with exit code 1")),
    ],
)
async def test_a_failure_is_booked_with_its_stage_and_reason(
    ready: World, step: str, error: Exception
) -> None:
    ready.builder.fail_at[step] = error
    told = await failure(await ready.start("Bake", BAKE, "bake/f"))
    row = row_of(ready, "bake/f")
    assert row.state == BakeState.FAILED
    assert row.failure is not None
    assert (row.failure["stage"], row.failure["reason"]) == (STAGES[step], told.type)
    assert row.failure["hint"] == (getattr(error, "hint", None) or "")
    assert [one.built for one in ready.bakes.withdrawn] == [None]
    assert images_of(ready) == []


@pytest.mark.parametrize("step", list(STAGES))
async def test_cancel_in_a_stage_leaves_nothing(ready: World, step: str) -> None:
    ready.builder.stuck_at.add(step)
    handle = await ready.start("Bake", DEB, "bake/c")
    await until_step(ready, step)
    await cancel(ready, handle)
    row = row_of(ready, "bake/c")
    assert row.state == BakeState.CANCELLED
    assert row.failure is not None
    assert (row.failure["stage"], row.failure["reason"]) == (STAGES[step], "cancelled")
    [withdrawn] = ready.bakes.withdrawn
    assert (withdrawn.built is not None) == (step == "publish")
    assert len(ready.bakes.pushed) == (step == "publish")
    assert images_of(ready) == []


def images_of(plane: World) -> list[str]:
    with plane.store.read() as session:
        return [row.name for row in images.listing(session)]


async def test_a_failed_bake_may_start_again(ready: World) -> None:
    ready.builder.fail_at["build_layer"] = SmokeTestFailed("no")
    await failure(await ready.start("Bake", BAKE, "bake/again"))
    del ready.builder.fail_at["build_layer"]
    assert (await bake(ready, "bake/again"))["digest"]


async def test_a_bake_takes_what_the_channel_means_at_its_start(plane: World) -> None:
    await upload(plane)
    for version in ("1", "2"):
        handle = await build(plane, version)
        await handle.execute_update("promote", {})
        image = await bake(plane, f"bake/{version}")
        assert image["base_version"] == version


async def test_each_end_is_an_event(ready: World) -> None:
    await bake(ready, "bake/1")
    with ready.store.read() as session:
        told = [event.kind for event in events.after(session, 0, subject="bake/1")]
    assert told == ["baked", "available"]
