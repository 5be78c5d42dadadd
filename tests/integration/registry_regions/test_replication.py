"""Images in another region: everything arrives, nothing is sent twice, nothing is lost."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.testing import ActivityEnvironment

from activities.registry_replication import ReplicationActivities
from fleetwide.models.registry_regions import (
    CopyBlob,
    FindMissing,
    ReplicaOutcome,
    ReplicateImage,
    SweepState,
)
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.registry_copies import Place
from fleetwide.registry.referrers import Subject
from fleetwide.store import registry_replicas
from fleetwide.store.registry_tables import ReplicaRow
from tests.integration.registry_regions.conftest import FAR, Plane, assert_whole, push
from tests.middle import Middle
from tests.oci_objects import Manifest, artifact, digest_of, image, index
from tests.registry_stack import FLEETWIDE, Stack

pytestmark = pytest.mark.integration

PATIENCE = 120
"""Seconds, also on a machine that is busy."""


def booked(plane: Plane, place: Place, digest: str) -> ReplicaRow | None:
    with plane.store.read() as session:
        return registry_replicas.find(session, place.repository, digest, FAR)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.1)


async def means(place: Place, tag: str, digest: str) -> bool:
    return await asyncio.to_thread(place.tag, tag) == digest


async def test_an_index_arrives_with_children_referrers_and_tags(
    plane: Plane, here: Place, there: Place
) -> None:
    made = index(image(2), image(1))
    subject = Subject(made.media_type, made.digest, len(made.data))
    signature = artifact(
        subject={
            "mediaType": subject.media_type,
            "digest": subject.digest,
            "size": subject.size,
        }
    )
    push(here, made, "1.0", "latest")
    push(here, signature)
    outcome = await plane.replicate(here, made.digest)
    assert_whole(there, made)
    assert_whole(there, signature)
    assert there.tag("1.0") == there.tag("latest") == made.digest
    assert outcome.tags == ["1.0", "latest"]
    assert outcome.manifests == 4
    blobs = {blob for one in (*made.children, signature) for blob in one.blobs}
    assert outcome.bytes_sent == sum(len(blob) for blob in blobs)
    for one in (made, *made.children, signature):
        row = booked(plane, here, one.digest)
        assert row is not None
        assert row.state == "present"


async def test_what_lies_there_is_not_sent_again(plane: Plane, here: Place, there: Place) -> None:
    made = image(3)
    push(here, made, "1.0")
    await plane.replicate(here, made.digest)
    again = await plane.replicate(here, made.digest)
    assert (again.blobs, again.bytes_sent, again.manifests) == (0, 0, 0)
    assert_whole(there, made)


async def test_a_blob_of_another_copy_is_mounted(plane: Plane, here: Place, there: Place) -> None:
    made = image(2, size=4096)
    push(here, made)
    await plane.replicate(here, made.digest)
    other = Place(here.registry, f"{here.repository}-too")
    push(other, made)
    outcome = await plane.replicate(other, made.digest)
    assert outcome.blobs == 3
    assert outcome.bytes_sent == 0
    assert_whole(Place(there.registry, other.repository), made)


async def test_a_tag_that_moved_on_is_left_alone(plane: Plane, here: Place, there: Place) -> None:
    old, new = image(), image()
    push(here, old, "latest")
    push(here, new, "latest")
    outcome = await plane.replicate(here, old.digest)
    assert outcome.tags == []
    assert there.tag("latest") is None
    await plane.replicate(here, new.digest)
    assert there.tag("latest") == new.digest


async def test_an_image_that_is_gone_fails_and_says_so(plane: Plane, here: Place) -> None:
    made = image()
    push(here, made)
    here.registry.delete_manifest(here.repository, made.digest)
    with pytest.raises(WorkflowFailureError):
        await plane.replicate(here, made.digest)
    row = booked(plane, here, made.digest)
    assert row is not None
    assert row.state == "failed"
    assert "there is no manifest" in row.message


async def test_every_push_that_a_rule_speaks_of_is_copied(
    plane: Plane, here: Place, there: Place
) -> None:
    before, after = image(), image()
    push(here, before, "before")
    elsewhere = Place(here.registry, "private/thing")
    push(elsewhere, after, "1")
    sweep = await plane.client.start_workflow(
        "RegistryReplicationSweep", SweepState(), id="sweep", task_queue="control"
    )

    await until(lambda: means(there, "before", before.digest))
    push(here, after, "after")
    await until(lambda: means(there, "after", after.digest))
    push(here, after, "moved")
    await until(lambda: means(there, "moved", after.digest))
    assert Place(there.registry, "private/thing").tag("1") is None
    state: SweepState = await sweep.query("progress", result_type=SweepState)
    assert state.compared_at is not None
    await sweep.terminate()


def worker(plane: Plane, home: Stack, regions: Path) -> "subprocess.Popen[bytes]":
    """A process that copies, to be killed."""
    environment = {
        **os.environ,
        **home.environment,
        "FLEETWIDE_REGISTRY_REGIONS": str(regions),
        "FLEETWIDE_TEMPORAL_ADDRESS": plane.target_host,
    }
    with regions.with_name("log").open("ab") as output:
        return subprocess.Popen(
            [FLEETWIDE, "worker", "replication"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


async def test_a_killed_worker_goes_on_where_it_was(
    idle_plane: Plane, home: Stack, here: Place, there: Place, regions_file: Path
) -> None:
    made = image(6, size=6_000_000)
    push(here, made, "big")

    async def some_blobs() -> bool:
        found = [await asyncio.to_thread(there.has_blob, digest_of(one)) for one in made.blobs]
        return any(found)

    image_to_copy = ReplicateImage(repository=here.repository, digest=made.digest, region=FAR)
    handle = await idle_plane.start(image_to_copy)
    first = worker(idle_plane, home, regions_file)
    await until(some_blobs)
    first.send_signal(signal.SIGKILL)
    first.wait()
    lying = sum(len(one) for one in made.blobs if there.has_blob(digest_of(one)))
    assert lying > 0
    second = worker(idle_plane, home, regions_file)
    outcome = ReplicaOutcome.model_validate(await handle.result())
    assert_whole(there, made)
    assert there.tag("big") == made.digest
    # What lay there when the worker was killed did not travel again.
    assert outcome.bytes_sent <= sum(len(one) for one in made.blobs)
    second.kill()
    second.wait()


@pytest.fixture
def between(far: Stack, regions_file: Path, tmp_path: Path) -> Iterator[tuple[Middle, Path]]:
    """A proxy before the other region, and a file that leads through it."""
    with Middle(far.url) as middle:
        file = tmp_path / "regions.yaml"
        file.write_text(regions_file.read_text().replace(far.url, middle.url))
        yield middle, file


async def test_a_tag_that_a_killed_worker_left_on_an_old_image_is_put_right(
    idle_plane: Plane,
    home: Stack,
    between: tuple[Middle, Path],
    regions_file: Path,
    here: Place,
    there: Place,
) -> None:
    """Its write arrives when the newer image's copy is whole already, and it cannot look again."""
    old, new = image(), image()
    by_hand, (middle, through) = ActivityEnvironment(), between
    with RegistryClient(home.url) as registry:
        copies = ReplicationActivities(idle_plane.store, registry, idle_plane.regions)

        def copy(made: Manifest) -> None:
            wanted = ReplicateImage(repository=here.repository, digest=made.digest, region=FAR)
            for blob in by_hand.run(copies.find_missing, FindMissing(image=wanted)).blobs:
                by_hand.run(copies.copy_blob, CopyBlob(image=wanted, blob=blob))
            by_hand.run(copies.copy_manifests, wanted)
            by_hand.run(copies.copy_tags, wanted)

        push(here, old)
        await asyncio.to_thread(copy, old)
        push(here, old, "latest")
        middle.stop_at_put("/manifests/latest")
        wanted = ReplicateImage(repository=here.repository, digest=old.digest, region=FAR)
        handle = await idle_plane.start(wanted)
        first = worker(idle_plane, home, through)
        assert await asyncio.to_thread(middle.reached.wait, PATIENCE)
        push(here, new, "latest")
        await asyncio.to_thread(copy, new)
        assert there.tag("latest") == new.digest
        first.kill()
        first.wait()
        middle.stop_nowhere()
        await until(lambda: means(there, "latest", old.digest))
        second = worker(idle_plane, home, regions_file)
        outcome = ReplicaOutcome.model_validate(await handle.result())
        second.kill()
        second.wait()
    assert there.tag("latest") == new.digest
    assert outcome.tags == []


async def test_what_people_of_the_region_tagged_is_not_touched_for_an_old_meaning(
    plane: Plane, here: Place, there: Place
) -> None:
    old, new, own = image(), image(), image()
    push(here, old, "latest")
    push(here, new, "latest")
    push(there, own, "latest")
    await plane.replicate(here, old.digest)
    assert there.tag("latest") == own.digest
