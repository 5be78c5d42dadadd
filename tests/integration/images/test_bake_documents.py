import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.bakes import BakeActivities
from fleetwide.bakery.images import SBOM_LABEL
from fleetwide.baseos import sbom_cyclonedx, sbom_spdx
from fleetwide.baseos.provenance import PAYLOAD_TYPE, check_provenance
from fleetwide.baseos.sbom import take_inventory
from fleetwide.errors import ArtifactRejected, ImageNotFound, RegistryUnavailable
from fleetwide.models.bakes import (
    BakedImage,
    BaseImage,
    BuiltLayer,
    PublishBake,
    PublishedBake,
    ResolvedBake,
    WithdrawBake,
)
from fleetwide.providers.attachments import fetch, list_referrers
from fleetwide.providers.bake_documents import spdx_delta
from fleetwide.providers.bake_publishing import publish_bake
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.document_archive import Archive
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.progress import Progress, no_progress
from fleetwide.providers.signing import ENVELOPE_TYPE, load_or_create_key, verify
from fleetwide.registry.digests import digest_of
from fleetwide.registry.references import ImageReference
from fleetwide.settings import Settings
from tests.integration.images.small_bases import layer_of, push_base, send_layer
from tests.unit.bakes import resolved
from tests.unit.locked import small_set, subject
from tests.unit.test_bake_sbom import BAKED
from tests.unit.test_baked_images import imaged
from tests.unit.test_rebase import built as built_layer

pytestmark = pytest.mark.integration

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TYPES = {
    PAYLOAD_TYPE,
    ENVELOPE_TYPE,
    sbom_spdx.ARTIFACT_TYPE,
    sbom_cyclonedx.ARTIFACT_TYPE,
}


@pytest.fixture
def archive(client: RegistryClient, tmp_path: Path) -> Archive:
    key = load_or_create_key(tmp_path / "key.pem")
    return Archive(client, FolderStore(tmp_path / "objects"), key)


@pytest.fixture
def base(client: RegistryClient, archive: Archive, tmp_path: Path) -> BaseImage:
    """A base whose documents lie where those of a release lie."""
    made = push_base(client, tmp_path / "base", "1")
    inventory = take_inventory(subject(name="small", version="1"), small_set())
    folder = "baseos/documents/small/1"
    spdx = sbom_spdx.spdx_document(inventory)
    archive.objects.put_bytes(f"{folder}/container.spdx.json", spdx)
    cyclonedx = sbom_cyclonedx.cyclonedx_document(inventory)
    archive.objects.put_bytes(f"{folder}/container.cdx.json", cyclonedx)
    return made


def ready(archive: Archive, bake: ResolvedBake, folder: Path) -> PublishBake:
    """A bake that is to be published, with its layer in the registry."""
    packed = layer_of(folder, {"opt/app/run": b"run"})
    send_layer(archive.registry, bake.repository, packed)
    built = built_layer(layer=packed.layer)
    return PublishBake(bake=bake, built=built, started_at=AT, finished_at=AT)


def publish(
    archive: Archive,
    request: PublishBake,
    send_layer: Callable[[], bool] = lambda: False,
    progress: Progress = no_progress,
) -> PublishedBake:
    return publish_bake(request, "bake/x/run", archive, send_layer, progress)


def digest_after(published: PublishedBake) -> str:
    assert published.pushed is not None
    return published.pushed.digest


def test_every_document_is_stored_and_attached_to_the_image(
    archive: Archive, base: BaseImage, tmp_path: Path
) -> None:
    request = ready(archive, resolved(base, name="told"), tmp_path / "layer")
    published = publish(archive, request)
    found = published.attachments
    listed = list_referrers(archive.registry, "apps/told", digest_after(published))
    assert {one.artifact_type for one in listed} == TYPES
    assert {one.digest for one in listed} == {one.digest for one in found}
    attached = {one.digest: one for one in listed}
    for attachment in found:
        assert attachment.key.startswith(f"bakery/documents/{request.bake.bake_key}/")
        stored = archive.objects.get_bytes(attachment.key)
        assert fetch(archive.registry, "apps/told", attached[attachment.digest]) == stored


def test_the_image_names_the_spdx_document_that_is_attached_to_it(
    archive: Archive, base: BaseImage, tmp_path: Path
) -> None:
    request = ready(archive, resolved(base, name="named"), tmp_path / "layer")
    published = publish(archive, request)
    folder = f"bakery/documents/{request.bake.bake_key}"
    stored = archive.objects.get_bytes(f"{folder}/container.spdx.json")
    assert request.built is not None
    assert published.pushed is not None
    assert stored == spdx_delta(request.bake, request.built, archive.objects)
    assert published.pushed.metadata[SBOM_LABEL] == digest_of(stored)
    below = archive.objects.get_bytes("baseos/documents/small/1/container.spdx.json")
    (link,) = json.loads(stored)["externalDocumentRefs"]
    assert link["checksum"]["checksumValue"] == digest_of(below).removeprefix("sha256:")


def test_the_signature_holds_for_the_image_and_for_no_other(
    archive: Archive, base: BaseImage, tmp_path: Path
) -> None:
    request = ready(archive, resolved(base, name="signed"), tmp_path / "layer")
    digest = digest_after(publish(archive, request))
    folder = f"bakery/documents/{request.bake.bake_key}"
    envelope = archive.objects.get_bytes(f"{folder}/provenance.intoto.json.dsse.json")
    payload = verify(envelope, archive.key.verifying, PAYLOAD_TYPE)
    assert payload == archive.objects.get_bytes(f"{folder}/provenance.intoto.json")
    assert check_provenance(payload, digest)
    with pytest.raises(ArtifactRejected, match="is not about"):
        check_provenance(payload, digest_of(b"other"))
    other = load_or_create_key(tmp_path / "other.pem").verifying
    with pytest.raises(ArtifactRejected, match="signed by"):
        verify(envelope, other, PAYLOAD_TYPE)


def test_doing_it_again_changes_nothing(archive: Archive, base: BaseImage, tmp_path: Path) -> None:
    request = ready(archive, resolved(base, name="repeated"), tmp_path / "layer")
    first = publish(archive, request)
    assert publish(archive, request) == first
    listed = list_referrers(archive.registry, "apps/repeated", digest_after(first))
    assert len(listed) == len(TYPES)


def test_new_metadata_get_documents_of_their_own(
    archive: Archive, base: BaseImage, tmp_path: Path
) -> None:
    for owner in ("team-a", "team-b"):
        bake = resolved(base, name="renewed", owner=owner)
        published = publish(archive, ready(archive, bake, tmp_path / owner))
        listed = list_referrers(archive.registry, "apps/renewed", digest_after(published))
        assert {one.digest for one in listed} == {one.digest for one in published.attachments}


def test_a_disk_has_documents_that_are_attached_to_nothing(
    archive: Archive, base: BaseImage
) -> None:
    bake = resolved(base, name="virtual", targets=["vm"])
    request = PublishBake(bake=bake, disk=BAKED, started_at=AT, finished_at=AT)
    published = publish(archive, request)
    assert published.pushed is None
    found = published.attachments
    names = {one.key.rpartition("/")[2] for one in found}
    assert {"vm.spdx.json", "vm.cdx.json"} < names
    for one in found:
        assert one.digest == digest_of(archive.objects.get_bytes(one.key))
    # This base has no documents about a disk, so that there is nothing to link to.
    assert "externalDocumentRefs" not in json.loads(spdx_delta(bake, BAKED, archive.objects))


class Cancelled(Exception):
    pass


def test_a_cancel_between_two_documents_is_let_through(
    archive: Archive, base: BaseImage, tmp_path: Path
) -> None:
    request = ready(archive, resolved(base, name="stopped"), tmp_path / "layer")

    def stop(phrase: str, _fraction: float | None) -> None:
        if phrase == "storing container.cdx.json":
            raise Cancelled

    with pytest.raises(Cancelled):
        publish(archive, request, progress=stop)
    assert len(publish(archive, request).attachments) == len(TYPES)


def test_an_image_whose_layer_did_not_come_is_not_there_and_has_no_documents(
    archive: Archive, base: BaseImage, tmp_path: Path
) -> None:
    request = ready(archive, resolved(base, name="broken"), tmp_path / "layer")

    def send() -> bool:
        raise RegistryUnavailable("the registry went away")

    with pytest.raises(RegistryUnavailable, match="went away"):
        publish(archive, request, send)
    assert archive.registry.list_tags("apps/broken") == []
    assert archive.objects.list("bakery/documents/") == []


def test_what_is_withdrawn_is_the_image_that_was_pushed(
    archive: Archive, base: BaseImage, tmp_path: Path
) -> None:
    request = ready(archive, resolved(base, name="taken"), tmp_path / "layer")
    image = ImageReference("apps/taken", digest=digest_after(publish(archive, request)))
    assert image.digest is not None
    settings = Settings(builder_dir=tmp_path / "builder", signing_key=tmp_path / "key.pem")
    activities = BakeActivities(settings, archive.registry, archive.objects)
    bake = request.bake

    def withdraw(cached: BakedImage | None, built: BuiltLayer | None) -> bool:
        """Whether the image is there afterwards."""
        told = WithdrawBake(bake=bake.model_copy(update={"cached": cached}), built=built)
        ActivityEnvironment().run(activities.withdraw, told)
        try:
            return archive.registry.resolve(image) == image.digest
        except ImageNotFound:
            return False

    before = imaged(bake, digest=image.digest)
    assert withdraw(None, None)
    assert withdraw(before, request.built)
    assert not withdraw(None, request.built)
    assert not withdraw(None, request.built)
    gone = bake.base.model_copy(update={"digest": digest_of(b"gone")})
    bake = bake.model_copy(update={"base": gone})
    assert not withdraw(None, request.built)


def test_no_value_of_the_environment_reaches_a_document(
    archive: Archive, base: BaseImage, tmp_path: Path
) -> None:
    bake = resolved(base, name="discreet", env={"PASSWORD": "hush-hush"})
    request = ready(archive, bake, tmp_path / "layer")
    for one in publish(archive, request).attachments:
        document = archive.objects.get_bytes(one.key)
        assert b"hush-hush" not in document
