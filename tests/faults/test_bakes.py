"""Bakes on a whole platform: the builder and the registry killed in every stage; nothing leaks."""

import asyncio
import io
import json
import os
import signal
import tarfile
from pathlib import Path

import pytest
from temporalio.client import WorkflowHandle

from fleetwide.models.bakes import BakedImage, BakeState
from fleetwide.models.os_releases import OSRelease
from fleetwide.settings import Settings
from fleetwide.temporal.client import connect
from tests.faults.test_cancel import mounts_below, work_folders
from tests.faults.test_kill_os_build import kill_builder
from tests.platforms import Platform, eventually
from workflows.bakery import Bake

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

Handle = WorkflowHandle[Bake, BakedImage]
ID = "bake/killed-in-every-stage"
STAGES = [BakeState.RESOLVING, BakeState.BUILDING, BakeState.TESTING, BakeState.PUBLISHING]


def upload(platform: Platform, folder: Path, script: str) -> dict[str, str]:
    """An artifact with one program."""
    path = folder / "app.tar"
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("run")
        entry.mode, entry.size = 0o755, len(script)
        archive.addfile(entry, io.BytesIO(script.encode()))
    with platform.client() as client:
        document = client.bakery.upload(path)
    return {"type": "tarball", "sha256": document.sha256, "filename": document.filename}


def spec_of(artifact: dict[str, str], name: str, **more: object) -> str:
    spec = {"name": name, "version": "1", "base": "baseos:stable", "artifacts": [artifact]}
    return json.dumps({**spec, "entrypoint": [f"/opt/{name}/run"], **more})


async def until_stage(handle: Handle, stage: BakeState) -> None:
    """Asked often: some stages take only part of a second."""
    while True:
        status = await handle.query(Bake.status)
        if stage in [one.stage for one in status.stages]:
            return
        assert status.failure is None, status.failure
        await asyncio.sleep(0.01)


async def kill_in_each_stage(platform: Platform) -> BakedImage:
    client = await connect(Settings(temporal_address=platform.config.temporal.address))
    handle: Handle = client.get_workflow_handle(ID)
    for stage in STAGES:
        await asyncio.wait_for(until_stage(handle, stage), 200)
        if stage is BakeState.PUBLISHING:
            os.kill(platform.pid("distribution"), signal.SIGKILL)
        await asyncio.to_thread(kill_builder, platform)
    return BakedImage.model_validate(await asyncio.wait_for(handle.result(), 200))


def test_a_bake_survives_the_end_of_its_builder_and_registry_in_every_stage(
    platform: Platform, stable: OSRelease, tmp_path: Path
) -> None:
    assert stable.image_digest
    artifact = upload(platform, tmp_path, "#!/bin/sh\nexec sleep 60\n")
    platform.start("Bake", ID, spec_of(artifact, "survivor", packages=["less"]))
    image = asyncio.run(kill_in_each_stage(platform))
    assert image.smoke is not None
    assert image.smoke.passed
    assert [one.name for one in image.dependencies] == ["less"]
    with platform.client() as client:
        assert client.bakery.image("survivor", "1").digest == image.digest
    nothing_is_left(platform)


def test_a_cancelled_and_a_failed_bake_leave_nothing(
    platform: Platform, stable: OSRelease, tmp_path: Path
) -> None:
    assert stable.image_digest
    artifact = upload(platform, tmp_path, "#!/bin/sh\nsleep 2; exit 7\n")
    platform.start("Bake", "bake/fails", spec_of(artifact, "failing"))
    ended = platform.ended("bake/fails")
    assert (ended.status, ended.failure_type) == ("FAILED", "SmokeTestFailed")
    assert "exit code 7" in ended.failure
    slow = {"command": ["/bin/sleep", "60"], "timeout_seconds": 100}
    platform.start("Bake", "bake/stopped", spec_of(artifact, "stopped", smoke=slow))
    eventually(lambda: platform.query("bake/stopped")["state"] == "testing", 60, "a smoke test")
    platform.temporal("workflow", "cancel", "--workflow-id", "bake/stopped")
    assert platform.ended("bake/stopped").status == "CANCELED"
    nothing_is_left(platform)
    with platform.registry() as client:
        assert not {"apps/failing", "apps/stopped"} & set(client.list_repositories())


def test_what_a_terminated_bake_leaves_is_booked_and_swept(
    platform: Platform, stable: OSRelease, tmp_path: Path
) -> None:
    assert stable.image_digest
    artifact = upload(platform, tmp_path, "#!/bin/sh\nexec sleep 60\n")
    slow = {"command": ["/bin/sleep", "60"], "timeout_seconds": 100}
    platform.start("Bake", "bake/cut-off", spec_of(artifact, "cut-off", smoke=slow))
    eventually(lambda: platform.query("bake/cut-off")["state"] == "testing", 60, "a smoke test")
    platform.temporal("workflow", "terminate", "--workflow-id", "bake/cut-off")
    with platform.client() as client:
        eventually(
            lambda: [one.name for one in client.bakery.bakes(state="failed", name="cut-off").items],
            90,
            "a booked end",
        )
    platform.start("BakerySweep", "bakery-sweep/1", json.dumps({"dry_run": False}))
    assert len(platform.ended("bakery-sweep/1").result["layers"]) == 1
    nothing_is_left(platform)


def nothing_is_left(platform: Platform) -> None:
    """No half-made layer, no folder, no mount, no process of a smoke test."""
    layers = platform.state / "objects" / "bakery" / "layers"
    assert [path for path in layers.glob("*") if layers.is_dir()] == []
    eventually(lambda: work_folders(platform) == [], 30, "no work folder")
    assert mounts_below(platform.state) == []
