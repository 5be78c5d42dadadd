"""The organisation's rules at a real registry: what a client is told, and what work goes on."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from fleetwide.errors import Denied, ImageNotFound, RegistryUnavailable
from fleetwide.models.containers import ContainerSpec
from fleetwide.providers.admission import pinned_image
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.image_references import ImageResolver
from fleetwide.providers.registry_auth import Credentials
from fleetwide.registry.digests import canonical_json, digest_of
from fleetwide.registry.oci import CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE
from fleetwide.registry.references import ImageReference
from tests.registry_stack import PASSWORD, Stack, StackOptions, registry_stack

pytestmark = pytest.mark.integration

POLICY = """
immutable:
  - {name: releases, repositories: ["vendor/*"], exceptions: ["latest"]}
quotas: {small: 2000}
"""


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "registry-policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture(scope="module")
def stack(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    options = StackOptions("redirect", environment={"FLEETWIDE_REGISTRY_POLICY": str(policy)})
    with registry_stack(tmp_path_factory.mktemp("registry"), options) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[RegistryClient]:
    with RegistryClient(stack.url) as made:
        yield made


def upload(client: RegistryClient, repository: str, layer: bytes) -> bytes:
    """A layer and a config; the manifest of both."""
    config = canonical_json({"architecture": "amd64", "os": "linux"})
    for data in (config, layer):
        client.upload_blob(repository, data, digest_of(data))
    parts = [
        {"mediaType": kind, "digest": digest_of(data), "size": len(data)}
        for kind, data in ((CONFIG_TYPE, config), (LAYER_TYPE, layer))
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": parts[0],
        "layers": parts[1:],
    }
    return canonical_json(manifest)


def put(client: RegistryClient, repository: str, tag: str, manifest: bytes) -> str:
    return client.put_manifest(ImageReference(repository, tag=tag), manifest, MANIFEST_TYPE)


def refused(stack: Stack, repository: str, tag: str, manifest: bytes) -> str:
    """What the registry says when it denies a push."""
    answer = httpx2.put(
        f"{stack.url}/v2/{repository}/manifests/{tag}",
        content=manifest,
        headers={"Content-Type": MANIFEST_TYPE},
    )
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["code"]) == (403, "DENIED")
    return str(error["message"])


def test_an_immutable_tag_is_pushed_again_but_never_moved(
    stack: Stack, client: RegistryClient, policy: Path
) -> None:
    first, second = (upload(client, "vendor/db", data) for data in (b"one", b"two"))
    for tag in ("1.0", "latest", "1.0"):
        put(client, "vendor/db", tag, first)
    told = refused(stack, "vendor/db", "1.0", second)
    assert "rule releases" in told
    assert f"of {policy.name} " in told
    assert digest_of(first) in told
    put(client, "vendor/db", "latest", second)
    by_tag = ImageReference("vendor/db", tag="1.0")
    assert client.resolve(by_tag) == digest_of(first)

    gone = httpx2.delete(f"{stack.url}/v2/vendor/db/manifests/1.0")
    assert gone.status_code == 202
    assert "1.0 is immutable" in refused(stack, "vendor/db", "1.0", second)
    assert put(client, "vendor/db", "1.0", first) == digest_of(first)


def test_a_push_beyond_the_quota_is_denied_with_numbers_until_there_is_room(
    stack: Stack, client: RegistryClient
) -> None:
    fits = upload(client, "small/app", b"x" * 900)
    put(client, "small/app", "1", fits)
    large = upload(client, "small/app", b"y" * 1200)
    told = refused(stack, "small/app", "2", large)
    assert f"asked {1200 + len(large)}, limit 2000" in told
    put(client, "small/app", "same", fits)
    full = httpx2.post(f"{stack.url}/v2/small/other/blobs/uploads/")
    assert (full.status_code, full.json()["errors"][0]["code"]) == (403, "DENIED")


def test_a_version_follows_the_builder_and_nobody_else(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    options = StackOptions("redirect", auth="token")
    with ExitStack() as ends:
        stack = ends.enter_context(registry_stack(tmp_path_factory.mktemp("accounts"), options))
        builder, admin = (
            ends.enter_context(RegistryClient(stack.url, Credentials(name, PASSWORD)))
            for name in ("builder", "admin")
        )
        first, rebased = (upload(builder, "apps/web", data) for data in (b"old base", b"new base"))
        put(builder, "apps/web", "1.0", first)
        with pytest.raises(Denied, match="rule bakes of the platform's own policy"):
            put(admin, "apps/web", "1.0", rebased)
        put(builder, "apps/web", "1.0", rebased)
        with pytest.raises(Denied, match=digest_of(rebased)):
            put(admin, "apps/web", "1.0", first)
        by_tag = ImageReference("apps/web", tag="1.0")
        assert admin.resolve(by_tag) == digest_of(rebased)


def container(image: str) -> ContainerSpec:
    resources = {"cpu": 0.1, "memory": "16MiB"}
    return ContainerSpec.model_validate({"image": image, "resources": resources})


def test_work_is_admitted_while_the_registry_is_away(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with (
        registry_stack(tmp_path_factory.mktemp("away"), StackOptions("redirect")) as stack,
        RegistryClient(stack.url) as client,
    ):
        manifest = upload(client, "apps/hello", b"hello")
        put(client, "apps/hello", "1.0", manifest)
        pinned = f"apps/hello@sha256:{hashlib.sha256(manifest).hexdigest()}"
        store = stack.store()
        images = ImageResolver(store, client)
        with pytest.raises(ImageNotFound):
            pinned_image(images, container("apps/hello:2.0"))
        stack.gateway.kill()
        stack.distribution.kill()
        assert pinned_image(images, container("apps/hello:1.0")) == pinned
        assert pinned_image(images, container(pinned)) == pinned
        with pytest.raises(RegistryUnavailable):
            pinned_image(images, container("apps/hello:2.0"))
        store.engine.dispose()
