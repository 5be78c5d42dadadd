"""A release's container base in a real registry: what it says of itself, and what lies in it."""

import tarfile

import pytest

from fleetwide.models.bakes import BaseImage
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.images import push_base_image
from fleetwide.registry.references import ImageReference
from tests.integration.images.conftest import Built

# A whole build takes some fifteen seconds on two quiet cores, and several times that on busy ones.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def test_the_version_s_tag_is_the_image(base: BaseImage, client: RegistryClient) -> None:
    reference = ImageReference(base.repository, tag="20261122.1")
    assert client.resolve(reference) == base.digest


def test_the_image_says_which_lock_it_was_built_from(
    base: BaseImage, built: Built, client: RegistryClient
) -> None:
    reference = ImageReference(base.repository, digest=base.digest)
    manifest = client.get_manifest(reference).json()
    config = client.get_blob_json(base.repository, manifest["config"]["digest"])
    labels = config["config"]["Labels"]
    assert labels == manifest["annotations"]
    assert labels["fleetwide.os.release"] == "tiny:20261122.1"
    assert labels["fleetwide.os.lock"] == built.locked.lock.digest
    assert labels["fleetwide.os.build-key"] == built.locked.build_key
    assert config["rootfs"]["diff_ids"] == [built.rootfs.layer.diff_id]


def test_the_tree_says_which_release_it_is(built: Built) -> None:
    with tarfile.open(built.layer) as archive:
        release = archive.extractfile("usr/lib/os-release")
        assert release is not None
        text = release.read().decode()
    assert text.startswith("PRETTY_NAME=")
    assert 'IMAGE_ID="tiny"\nIMAGE_VERSION="20261122.1"\nBUILD_ID="' in text
    assert {"dpkg", "python3-minimal", "libc6"} <= built.rootfs.packages.keys()


def test_a_release_that_is_published_twice_is_the_same_image(
    base: BaseImage, built: Built, client: RegistryClient
) -> None:
    again = push_base_image(client, built.locked, built.rootfs.layer)
    assert again.digest == base.digest
