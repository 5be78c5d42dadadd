"""``kill -9`` of the builder in every stage of one whole OS build: both faces, a boot, two AMIs."""

import asyncio
import json
import os
import signal
from pathlib import Path

import boto3
import psutil
import pytest
from temporalio.client import WorkflowHandle

from fleetwide.baseos.amis import WORKFLOW_TAG
from fleetwide.models.os_releases import OSRelease
from fleetwide.providers.scratch import KEPT
from fleetwide.settings import Settings
from fleetwide.temporal.client import connect
from tests.faults.test_cancel import mounts_below
from tests.platforms import Platform, eventually
from workflows.baseos import OSImageBuild

# A build of some two minutes, a boot of as much, and a heartbeat time-out for each kill.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

ID = "os/phoenix-vm/1"
SPEC = {
    "name": "phoenix-vm",
    "version": "1",
    "suite": "bookworm",
    "variant": "essential",
    "targets": ["container", "vm"],
    "ami": {"regions": ["us-east-1", "eu-west-1"], "accounts": ["123456789012"]},
    "tests": {"boot_timeout_seconds": 900},
}
# moto makes up a snapshot for each image that is registered or copied, whatever it was given.
INVENTED = "Auto-created snapshot for AMI"
STAGES = [
    "resolving the packages",
    "fetching ",
    "building container and vm",
    "booting the VM image",
    "publishing the container base",
    "writing SBOMs",
    "publishing AMIs",
]

Handle = WorkflowHandle[OSImageBuild, OSRelease]


async def until_step(handle: Handle, start: str) -> None:
    """Asked often: some steps take only part of a second."""
    while True:
        status = await handle.query(OSImageBuild.status)
        if status.step.startswith(start):
            return
        assert status.state == "building", f"never saw {start!r}: {status}"
        await asyncio.sleep(0.01)


async def kill_in_each_stage(platform: Platform) -> OSRelease:
    address = platform.config.temporal.address
    client = await connect(Settings(temporal_address=address))
    handle: Handle = client.get_workflow_handle(ID)
    for stage in STAGES:
        await asyncio.wait_for(until_step(handle, stage), 400)
        await asyncio.to_thread(kill_builder, platform)
    await asyncio.wait_for(until_step(handle, "a candidate"), 400)
    status = await handle.query(OSImageBuild.status)
    assert status.release is not None
    return status.release


def kill_builder(platform: Platform) -> None:
    builder = platform.pid("builder")
    started = psutil.Process(builder).children(recursive=True)
    os.kill(builder, signal.SIGKILL)
    eventually(lambda: not any(map(is_alive, started)), 30, "the end of what it started")
    eventually(platform.healthy, 60, "a builder again")


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def clouds(platform: Platform) -> dict[str, tuple[list[str], list[str]]]:
    """Region to the images and the completed or pending snapshots of ours that lie there."""
    found = {}
    for region in SPEC["ami"]["regions"]:  # type: ignore[index]
        ec2 = boto3.client(
            "ec2",
            region_name=region,
            endpoint_url=f"http://127.0.0.1:{platform.config.processes['aws'].port}",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        ours = [{"Name": f"tag:{WORKFLOW_TAG}", "Values": [ID]}]
        images = ec2.describe_images(Owners=["self"], Filters=ours)["Images"]
        snapshots = ec2.describe_snapshots(OwnerIds=["self"], Filters=ours)["Snapshots"]
        found[region] = (
            [image["ImageId"] for image in images],
            [s["SnapshotId"] for s in snapshots if not s["Description"].startswith(INVENTED)],
        )
    return found


def test_a_builder_that_is_killed_in_every_stage_loses_nothing(
    platform: Platform, stable: OSRelease
) -> None:
    assert stable.image_digest
    platform.start("OSImageBuild", ID, json.dumps(SPEC))
    release = asyncio.run(kill_in_each_stage(platform))
    assert release.boot is not None
    assert release.boot.passed
    assert {ami.region for ami in release.amis} == {"us-east-1", "eu-west-1"}
    for ami in release.amis:
        images, _ = clouds(platform)[ami.region]
        assert images == [ami.image_id]
    _, snapshots = clouds(platform)["us-east-1"]
    assert snapshots == [release.amis[0].snapshot_id]
    builder = platform.state / "builder"
    assert [path for path in builder.glob("*") if path.name not in KEPT] == []
    assert mounts_below(Path(builder)) == []
    with platform.client() as client:
        assert client.os.get("phoenix-vm", "candidate").version == "1"
