"""A blob that is broken here comes back from a region that has it."""

from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.registry_scrub import ScrubActivities
from fleetwide.models.registry_gc import ScrubBatch
from fleetwide.providers.region_blobs import RegionBlobs
from fleetwide.providers.registry_copies import Place
from fleetwide.providers.registry_regions import Regions
from fleetwide.providers.registry_storage import RegistryStorage
from fleetwide.providers.registry_trees import FolderTree
from fleetwide.registry.digests import hex_of
from tests.integration.registry_regions.conftest import Plane, assert_whole, push
from tests.oci_objects import digest_of, image
from tests.registry_stack import Stack

pytestmark = pytest.mark.integration


async def test_a_broken_blob_is_fetched_from_another_region(
    plane: Plane, home: Stack, here: Place, regions_file: Path
) -> None:
    made = image(2, size=5000)
    push(here, made, "1.0")
    await plane.replicate(here, made.digest)
    digits = hex_of(digest_of(made.blobs[1]))
    file = home.storage / f"docker/registry/v2/blobs/sha256/{digits[:2]}/{digits}/data"
    file.write_bytes(b"rot" + file.read_bytes()[3:])
    storage = RegistryStorage(FolderTree(home.storage))
    with Regions(regions_file) as regions:
        scrub = ScrubActivities(plane.store, storage, RegionBlobs(plane.store, regions))
        batch = ScrubBatch(after="", bytes_per_second=1e9, seconds=60)
        done = ActivityEnvironment().run(scrub.scrub_blobs, batch)
    assert done.report.broken == [digest_of(made.blobs[1])]
    assert done.report.fetched == 1
    assert_whole(here, made)
