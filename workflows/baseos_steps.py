"""The steps of an OS build as calls of activities: from a spec to a candidate's parts."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityCancellationType

with workflow.unsafe.imports_passed_through():
    from activities.baseos import ReleaseActivities
    from activities.baseos_amis import AmiActivities
    from activities.baseos_builds import OSBuildActivities
    from fleetwide.models.baseos import OSImageSpec
    from fleetwide.models.os_releases import (
        AmiImage,
        Attachment,
        BootReport,
        BuiltDisk,
        BuiltImage,
        DiskImage,
        LockedPlan,
        OSRelease,
        RootFilesystem,
    )
    from fleetwide.models.os_steps import (
        AmiSnapshot,
        AttachDocuments,
        BootTest,
        CopyAmi,
        DropAmis,
        PublishImage,
        RegisterAmi,
        ShareAmi,
        UploadSnapshot,
    )

from workflows.policies import (
    BOOKING_TIMEOUT,
    BUILD_HEARTBEAT,
    BUILDER,
    BUILDS,
    CLOUD,
    CLOUD_HEARTBEAT,
    COMPENSATION,
    PERSISTENT,
)

BUILD_LIMIT = timedelta(hours=2)
CLOUD_LIMIT = timedelta(hours=6)
"""A copy of a large snapshot to a far region takes hours."""

Item = TypeVar("Item")


async def together(steps: Sequence[Coroutine[Any, Any, Item]]) -> list[Item]:
    """Run steps side by side; when one fails, the others are cancelled and awaited first."""
    tasks = [asyncio.create_task(step) for step in steps]
    try:
        return list(await asyncio.gather(*tasks))
    except (Exception, asyncio.CancelledError):
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def on_builder(
    activity: Any, argument: Any, summary: str, policy: RetryPolicy = BUILDS
) -> Any:
    """A long step on a builder; a cancel is over when its compensation is."""
    return await workflow.execute_activity_method(
        activity,
        argument,
        task_queue=BUILDER,
        start_to_close_timeout=BUILD_LIMIT,
        heartbeat_timeout=BUILD_HEARTBEAT,
        retry_policy=policy,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary,
    )


async def in_cloud(activity: Any, argument: Any, summary: str, policy: RetryPolicy = CLOUD) -> Any:
    """A step that waits for EC2."""
    return await workflow.execute_activity_method(
        activity,
        argument,
        start_to_close_timeout=CLOUD_LIMIT,
        heartbeat_timeout=CLOUD_HEARTBEAT,
        retry_policy=policy,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary,
    )


async def book(activity: Any, *arguments: Any, summary: str) -> Any:
    """A light step on the database: it must get done, however long the database is away.

    A cancel waits for its answer, or nobody would know what was written.
    """
    return await workflow.execute_activity_method(
        activity,
        args=list(arguments),
        start_to_close_timeout=BOOKING_TIMEOUT,
        retry_policy=PERSISTENT,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary,
    )


async def lock_packages(plan: Any) -> LockedPlan:
    spec: OSImageSpec = plan.spec
    locked: LockedPlan = await on_builder(
        OSBuildActivities.resolve_lock,
        plan,
        f"resolve the packages of {spec.distribution} {spec.suite}",
    )
    return locked


async def fetch_packages(locked: LockedPlan) -> LockedPlan:
    fetched: LockedPlan = await on_builder(
        OSBuildActivities.fetch_packages,
        locked,
        f"fetch {locked.lock.package_count} packages",
    )
    return fetched


async def build_container(locked: LockedPlan) -> RootFilesystem:
    built: RootFilesystem = await on_builder(
        OSBuildActivities.build_container,
        locked,
        f"build the container base of {locked.plan.name} {locked.plan.version}",
    )
    return built


async def build_vm(locked: LockedPlan) -> BuiltDisk:
    built: BuiltDisk = await on_builder(
        OSBuildActivities.build_vm,
        locked,
        f"build the VM image of {locked.plan.name} {locked.plan.version}",
    )
    return built


async def test_boot(locked: LockedPlan, disk: DiskImage) -> BootReport:
    report: BootReport = await on_builder(
        OSBuildActivities.test_boot, BootTest(locked=locked, disk=disk), "boot the VM image"
    )
    return report


async def publish_image(locked: LockedPlan, rootfs: RootFilesystem) -> BuiltImage:
    image: BuiltImage = await on_builder(
        OSBuildActivities.publish_image,
        PublishImage(locked=locked, layer=rootfs.layer),
        f"publish {locked.plan.repository}:{locked.plan.tag}",
    )
    return image


async def attach_documents(request: AttachDocuments) -> list[Attachment]:
    found: list[Attachment] = await on_builder(
        OSBuildActivities.attach_documents, request, "write SBOMs and signed provenance"
    )
    return found


async def publish_amis(
    locked: LockedPlan, release: OSRelease, parent: OSRelease | None
) -> list[AmiImage]:
    """Snapshot, AMI, copies, permissions: in the spec's regions, the first one first."""
    spec = locked.plan.spec.ami
    assert spec is not None
    assert release.disk is not None
    home = spec.regions[0]
    snapshot = await _upload(locked, release, parent)
    registered: AmiImage = await in_cloud(
        AmiActivities.register_ami,
        RegisterAmi(
            locked=locked,
            disk=release.disk,
            image_digest=release.image_digest,
            snapshot=snapshot,
        ),
        f"register the AMI in {home}",
    )
    copies: list[AmiImage] = await together(
        [
            in_cloud(
                AmiActivities.copy_ami,
                CopyAmi(source=registered, region=region),
                f"copy the AMI to {region}",
            )
            for region in spec.regions[1:]
        ]
    )
    amis = [registered, *copies]
    now = workflow.now()
    await together(
        [
            in_cloud(
                AmiActivities.share_ami,
                ShareAmi(ami=ami, spec=spec, released_at=now),
                f"set who may launch it in {ami.region}",
            )
            for ami in amis
        ]
    )
    return amis


async def _upload(locked: LockedPlan, release: OSRelease, parent: OSRelease | None) -> AmiSnapshot:
    assert locked.plan.spec.ami is not None
    assert release.disk is not None
    home = locked.plan.spec.ami.regions[0]
    below = next((ami for ami in parent.amis if ami.region == home), None) if parent else None
    snapshot: AmiSnapshot = await on_builder(
        OSBuildActivities.upload_snapshot,
        UploadSnapshot(
            locked=locked,
            disk=release.disk,
            image_digest=release.image_digest,
            parent=below,
            parent_disk=parent.disk.digest if parent and parent.disk else None,
        ),
        f"send the disk to EBS in {home}",
    )
    return snapshot


async def drop_amis(locked: LockedPlan, amis: list[AmiImage]) -> None:
    """Take away all that the release has in the cloud, also what no step told of."""
    ami = locked.plan.spec.ami
    if ami is None:
        return
    # First the AMIs: EC2 does not delete a snapshot that one of them uses.
    await in_cloud(
        AmiActivities.drop_amis,
        DropAmis(workflow_id=locked.plan.workflow_id, amis=amis, regions=ami.regions),
        "take the AMIs and snapshots away",
        COMPENSATION,
    )
    await on_builder(
        OSBuildActivities.drop_upload, locked, "forget a half-done upload", COMPENSATION
    )


async def find_release(name: str, version: str | None) -> OSRelease | None:
    if version is None:
        return None
    found: OSRelease | None = await book(
        ReleaseActivities.find_release, name, version, summary=f"look up the parent {version}"
    )
    return found
