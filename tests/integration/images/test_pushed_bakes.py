import io
import tarfile
from pathlib import Path
from typing import Any

import docker
import httpx2
import pytest

from fleetwide.bakery.rebase import is_rebaseable
from fleetwide.errors import ImageNotFound, PlatformError, RegistryUnavailable
from fleetwide.models.bakes import BaseImage, BuiltLayer, ResolvedBake, ReusableLayer
from fleetwide.providers.compress import Compressed, compress_layer
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.images import plan_image, push_image, upload_layer
from fleetwide.providers.layers import write_layer
from fleetwide.providers.payloads import PayloadInputs, make_payload
from fleetwide.providers.progress import no_progress
from fleetwide.registry.digests import digest_of
from fleetwide.registry.references import ImageReference
from tests.integration.images.conftest import free_port
from tests.integration.images.small_bases import (
    layer_of,
    noted_uploads,
    push_base,
    send_layer,
    served,
)
from tests.unit.bakes import resolved

pytestmark = pytest.mark.integration

ENV = {"LANG": "C.UTF-8"}
SBOM = digest_of(b"sbom")


@pytest.fixture
def base(client: RegistryClient, tmp_path: Path) -> BaseImage:
    return push_base(client, tmp_path / "base", "1")


@pytest.fixture
def packed(tmp_path: Path) -> Compressed:
    return layer_of(tmp_path / "own", {"opt/app/run": b"#!/bin/sh\n" * 1000})


def pushed_layer(client: RegistryClient, bake: ResolvedBake, packed: Compressed) -> Compressed:
    send_layer(client, bake.repository, packed)
    return packed


def test_every_layer_of_the_image_has_the_bytes_that_went_in(
    client: RegistryClient, base: BaseImage, packed: Compressed
) -> None:
    bake = resolved(base, name="bytes")
    pushed_layer(client, bake, packed)
    pushed = push_image(client, plan_image(client, bake, packed.layer, ENV, SBOM))
    manifest = client.get_manifest(ImageReference("apps/bytes", tag="1.0.0"))
    assert manifest.digest == pushed.digest
    below = client.get_manifest(ImageReference(base.repository, digest=base.digest)).json()
    *lower, own = manifest.json()["layers"]
    assert lower == below["layers"]
    for layer in below["layers"]:
        original = served(client, base.repository, layer["digest"])
        assert served(client, "apps/bytes", layer["digest"]) == original
    assert served(client, "apps/bytes", own["digest"]) == packed.path.read_bytes()
    assert pushed.size == sum(one["size"] for one in [*below["layers"], own])
    assert manifest.json()["annotations"] == pushed.metadata


def test_the_config_goes_on_from_that_of_the_base(
    client: RegistryClient, base: BaseImage, packed: Compressed
) -> None:
    bake = resolved(base, name="config")
    pushed_layer(client, bake, packed)
    pushed = push_image(client, plan_image(client, bake, packed.layer, ENV, SBOM))
    manifest = client.get_manifest(ImageReference("apps/config", digest=pushed.digest)).json()
    config = client.get_blob_json("apps/config", manifest["config"]["digest"])
    assert len(config["rootfs"]["diff_ids"]) == 3
    assert config["rootfs"]["diff_ids"][-1] == packed.layer.diff_id
    with_layer = [step for step in config["history"] if not step.get("empty_layer")]
    assert [one["created_by"] for one in with_layer] == ["lower", "upper", "Bake config 1.0.0"]
    assert config["config"]["Labels"] == pushed.metadata
    assert pushed.metadata["fleetwide.sbom.digest"] == SBOM


def test_no_layer_is_sent_and_a_second_push_changes_nothing(
    client: RegistryClient, base: BaseImage, packed: Compressed
) -> None:
    bake = resolved(base, name="twice")
    pushed_layer(client, bake, packed)
    with noted_uploads(client) as (noting, sent):
        first = push_image(noting, plan_image(noting, bake, packed.layer, ENV, SBOM))
        assert len(sent) == 1  # the config
        assert push_image(noting, plan_image(noting, bake, packed.layer, ENV, SBOM)) == first
    assert client.list_tags("apps/twice") == ["1.0.0"]


@pytest.mark.parametrize(
    "change", [{"owner": "team-b"}, {"labels": {"tier": "gold"}}, {"build": {"commit": "beef"}}]
)
def test_new_metadata_are_a_new_manifest_over_the_same_layers(
    client: RegistryClient, base: BaseImage, packed: Compressed, change: dict[str, Any]
) -> None:
    before = resolved(base, name="again", owner="team-a")
    after = resolved(base, **{"name": "again", "owner": "team-a", **change})
    assert before.bake_key == after.bake_key
    pushed_layer(client, before, packed)
    old = push_image(client, plan_image(client, before, packed.layer, ENV, SBOM))
    with noted_uploads(client) as (noting, sent):
        new = push_image(noting, plan_image(noting, after, packed.layer, ENV, SBOM))
    assert len(sent) == 1  # the config
    assert (new.digest != old.digest, new.size == old.size) == (True, True)
    found = [
        client.get_manifest(ImageReference("apps/again", digest=one.digest)).json()["layers"]
        for one in (old, new)
    ]
    assert found[0] == found[1]
    assert client.resolve(ImageReference("apps/again", tag="1.0.0")) == new.digest


def baked_layer(bake: ResolvedBake, archive: Path, below: Path, workdir: Path) -> Compressed:
    """The layer of a tarball, made as a builder makes it."""
    workdir.mkdir()
    inputs = PayloadInputs(bake=bake, artifacts=[archive], dependencies=[], base=below)
    payload = make_payload(inputs, workdir, no_progress)
    assert is_rebaseable(payload.entries, bake.spec.name)
    write_layer(payload.entries, workdir / "layer.tar", no_progress)
    return compress_layer(workdir / "layer.tar", workdir / "layer.tar.gz", no_progress)


def test_a_rebased_image_has_the_bytes_of_a_fresh_bake_onto_the_new_base(
    client: RegistryClient, tmp_path: Path
) -> None:
    archive = tmp_path / "app.tar.gz"
    with tarfile.open(archive, "w:gz") as writer:
        member = tarfile.TarInfo("bin/run")
        member.size, member.mode = 4, 0o755
        writer.addfile(member, io.BytesIO(b"run\n"))
    bases = [push_base(client, tmp_path / "bases", version) for version in ("1", "2")]
    layers = []
    for base in bases:
        below = tmp_path / f"below-{base.version}"
        (below / "opt").mkdir(parents=True)
        (below / "etc").mkdir()
        (below / "etc/os-release").write_text(f"VERSION_ID={base.version}\n")
        bake = resolved(base, name="moved")
        layers.append(baked_layer(bake, archive, below, tmp_path / f"work-{base.version}"))
    assert layers[0].layer == layers[1].layer

    old, new = (resolved(base, name="moved") for base in bases)
    assert (old.content_key, old.bake_key != new.bake_key) == (new.content_key, True)
    pushed_layer(client, old, layers[0])
    push_image(client, plan_image(client, old, layers[0].layer, ENV, SBOM))
    built = BuiltLayer(
        layer=layers[0].layer,
        uncompressed_size=layers[0].uncompressed_size,
        entries=3,
        rebaseable=True,
        build_seconds=1,
    )
    reusable = ReusableLayer(bake_key=old.bake_key, repository=old.repository, built=built)
    with noted_uploads(client) as (noting, sent):
        rebased = new.model_copy(update={"reusable": reusable})
        moved = push_image(noting, plan_image(noting, rebased, built.layer, ENV, SBOM))
    assert len(sent) == 1  # the config
    fresh = push_image(client, plan_image(client, new, layers[1].layer, ENV, SBOM))
    assert moved == fresh


def test_the_layer_of_another_repository_is_mounted(
    client: RegistryClient, base: BaseImage, packed: Compressed
) -> None:
    first = resolved(base, name="home")
    pushed_layer(client, first, packed)
    built = BuiltLayer(
        layer=packed.layer, uncompressed_size=1, entries=1, rebaseable=True, build_seconds=1
    )
    reusable = ReusableLayer(bake_key=first.bake_key, repository="apps/home", built=built)
    bake = resolved(base, name="guest").model_copy(update={"reusable": reusable})
    push_image(client, plan_image(client, bake, packed.layer, ENV, SBOM))
    assert served(client, "apps/guest", packed.layer.digest) == packed.path.read_bytes()


def test_a_layer_that_was_never_sent_is_named(
    client: RegistryClient, base: BaseImage, packed: Compressed
) -> None:
    bake = resolved(base, name="lost")
    with pytest.raises(PlatformError, match=f"lost the layer {packed.layer.digest} of apps/lost"):
        push_image(client, plan_image(client, bake, packed.layer, ENV, SBOM))
    assert client.list_tags("apps/lost") == []


def test_a_layer_of_the_base_that_is_gone_is_named(
    client: RegistryClient, packed: Compressed, tmp_path: Path
) -> None:
    base = push_base(client, tmp_path / "gone", "3", repository="baseos/gone")
    assert base.layer is not None
    digest = base.layer.digest
    url = f"{client.base_url}/v2/baseos/gone/blobs/{digest}"
    assert httpx2.delete(url).status_code == 202
    bake = resolved(base, name="baseless")
    pushed_layer(client, bake, packed)
    with pytest.raises(PlatformError, match=f"lost the layer {digest} of baseos/gone"):
        push_image(client, plan_image(client, bake, packed.layer, ENV, SBOM))
    assert client.list_tags("apps/baseless") == []


def test_a_base_that_is_gone_is_named(
    client: RegistryClient, base: BaseImage, packed: Compressed
) -> None:
    bake = resolved(base.model_copy(update={"digest": digest_of(b"no")}), name="unbased")
    with pytest.raises(ImageNotFound, match="baseos/small@sha256:"):
        push_image(client, plan_image(client, bake, packed.layer, ENV, SBOM))


def test_a_registry_that_does_not_answer_is_the_platform_s_fault(
    base: BaseImage, packed: Compressed
) -> None:
    with RegistryClient(f"http://127.0.0.1:{free_port()}") as nobody:
        with pytest.raises(RegistryUnavailable, match="does not answer"):
            push_image(nobody, plan_image(nobody, resolved(base), packed.layer, ENV, SBOM))
        with pytest.raises(RegistryUnavailable, match="does not answer"):
            send_layer(nobody, "apps/hello", packed)


def test_a_file_with_other_bytes_than_the_layer_is_refused(
    client: RegistryClient, packed: Compressed, tmp_path: Path
) -> None:
    cut = io.BytesIO(packed.path.read_bytes()[:-1])
    with pytest.raises(RegistryUnavailable, match="answered 4"):
        upload_layer(client, "apps/cut", cut.read, packed.layer, no_progress)
    assert not client.blob_exists("apps/cut", packed.layer.digest)


def test_a_tag_that_somebody_moves_meanwhile_is_told(
    client: RegistryClient, base: BaseImage, packed: Compressed
) -> None:
    bake, rival = resolved(base, name="race"), resolved(base, name="race", owner="rival")
    pushed_layer(client, bake, packed)

    class Overtaken(RegistryClient):
        def put_manifest(self, reference: ImageReference, data: bytes, media_type: str) -> str:
            digest = super().put_manifest(reference, data, media_type)
            push_image(client, plan_image(client, rival, packed.layer, ENV, SBOM))
            return digest

    with (
        Overtaken(client.base_url) as overtaken,
        pytest.raises(RegistryUnavailable, match="somebody else pushes under the same tag"),
    ):
        push_image(overtaken, plan_image(overtaken, bake, packed.layer, ENV, SBOM))


def test_docker_pulls_the_image_with_all_that_it_says(
    client: RegistryClient, base: BaseImage, packed: Compressed, docker_api: docker.APIClient
) -> None:
    check = {"command": ["/opt/app/check"], "interval_seconds": 7}
    bake = resolved(
        base, name="pulled", init=True, entrypoint=["/opt/app/run"], volumes=["/data"],
        healthcheck=check, ports=[8080], owner="team-a",
    )  # fmt: skip
    pushed_layer(client, bake, packed)
    pushed = push_image(client, plan_image(client, bake, packed.layer, ENV, SBOM))
    host = client.base_url.removeprefix("http://")
    reference = f"{host}/apps/pulled@{pushed.digest}"
    docker_api.pull(f"{host}/apps/pulled", tag=pushed.digest)
    try:
        found = docker_api.inspect_image(reference)  # type: ignore[no-untyped-call]
    finally:
        docker_api.remove_image(reference, force=True)
    config = found["Config"]
    assert config["Entrypoint"] == ["/usr/bin/tini", "--", "/opt/app/run"]
    assert config["Healthcheck"]["Test"] == ["CMD", "/opt/app/check"]
    assert config["Healthcheck"]["Interval"] == 7_000_000_000
    assert config["Volumes"] == {"/data": {}}
    assert config["ExposedPorts"] == {"8080/tcp": {}}
    assert config["Labels"] == pushed.metadata
    assert found["RootFS"]["Layers"][-1] == packed.layer.diff_id
