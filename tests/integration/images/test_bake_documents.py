import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetwide.baseos import sbom_cyclonedx, sbom_spdx
from fleetwide.baseos.provenance import PAYLOAD_TYPE, check_provenance
from fleetwide.baseos.sbom import take_inventory
from fleetwide.errors import ArtifactRejected
from fleetwide.models.bakes import BaseImage, DocumentBake, ResolvedBake
from fleetwide.providers.attachments import fetch, list_referrers
from fleetwide.providers.bake_documents import publish_bake_documents, spdx_delta
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.document_archive import Archive
from fleetwide.providers.images import push_bake, upload_layer
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.progress import no_progress
from fleetwide.providers.signing import ENVELOPE_TYPE, load_or_create_key, verify
from fleetwide.registry.digests import digest_of
from tests.integration.images.small_bases import layer_of, push_base
from tests.unit.bakes import resolved
from tests.unit.locked import small_set, subject
from tests.unit.test_bake_sbom import BAKED
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


def pushed(archive: Archive, bake: ResolvedBake, folder: Path) -> DocumentBake:
    """The bake in the registry, with all that its documents tell about."""
    packed = layer_of(folder, {"opt/app/run": b"run"})
    upload_layer(archive.registry, bake.repository, packed.path, packed.layer, no_progress)
    built = built_layer(layer=packed.layer)
    sbom = digest_of(spdx_delta(bake, built, archive.objects))
    image = push_bake(archive.registry, bake, built.layer, {}, sbom)
    return DocumentBake(bake=bake, built=built, digest=image.digest, started_at=AT, finished_at=AT)


def test_every_document_is_stored_and_attached_to_the_image(
    archive: Archive, base: BaseImage, tmp_path: Path
) -> None:
    request = pushed(archive, resolved(base, name="told"), tmp_path / "layer")
    found = publish_bake_documents(request, "bake/x/run", archive, no_progress)
    assert request.digest is not None
    listed = list_referrers(archive.registry, "apps/told", request.digest)
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
    request = pushed(archive, resolved(base, name="named"), tmp_path / "layer")
    publish_bake_documents(request, "bake/x/run", archive, no_progress)
    folder = f"bakery/documents/{request.bake.bake_key}"
    stored = archive.objects.get_bytes(f"{folder}/container.spdx.json")
    assert request.built is not None
    assert stored == spdx_delta(request.bake, request.built, archive.objects)
    image = push_bake(archive.registry, request.bake, request.built.layer, {}, digest_of(stored))
    assert image.digest == request.digest
    below = archive.objects.get_bytes("baseos/documents/small/1/container.spdx.json")
    (link,) = json.loads(stored)["externalDocumentRefs"]
    assert link["checksum"]["checksumValue"] == digest_of(below).removeprefix("sha256:")


def test_the_signature_holds_for_the_image_and_for_no_other(
    archive: Archive, base: BaseImage, tmp_path: Path
) -> None:
    request = pushed(archive, resolved(base, name="signed"), tmp_path / "layer")
    publish_bake_documents(request, "bake/x/run", archive, no_progress)
    folder = f"bakery/documents/{request.bake.bake_key}"
    envelope = archive.objects.get_bytes(f"{folder}/provenance.intoto.json.dsse.json")
    payload = verify(envelope, archive.key.verifying, PAYLOAD_TYPE)
    assert payload == archive.objects.get_bytes(f"{folder}/provenance.intoto.json")
    assert request.digest is not None
    assert check_provenance(payload, request.digest)
    with pytest.raises(ArtifactRejected, match="is not about"):
        check_provenance(payload, digest_of(b"other"))
    other = load_or_create_key(tmp_path / "other.pem").verifying
    with pytest.raises(ArtifactRejected, match="signed by"):
        verify(envelope, other, PAYLOAD_TYPE)


def test_doing_it_again_changes_nothing(archive: Archive, base: BaseImage, tmp_path: Path) -> None:
    request = pushed(archive, resolved(base, name="repeated"), tmp_path / "layer")
    first = publish_bake_documents(request, "bake/x/run", archive, no_progress)
    assert publish_bake_documents(request, "bake/x/run", archive, no_progress) == first
    assert request.digest is not None
    assert len(list_referrers(archive.registry, "apps/repeated", request.digest)) == len(TYPES)


def test_new_metadata_get_documents_of_their_own(
    archive: Archive, base: BaseImage, tmp_path: Path
) -> None:
    for owner in ("team-a", "team-b"):
        bake = resolved(base, name="renewed", owner=owner)
        request = pushed(archive, bake, tmp_path / owner)
        found = publish_bake_documents(request, "bake/x/run", archive, no_progress)
        assert request.digest is not None
        listed = list_referrers(archive.registry, "apps/renewed", request.digest)
        assert {one.digest for one in listed} == {one.digest for one in found}


def test_a_disk_has_documents_that_are_attached_to_nothing(
    archive: Archive, base: BaseImage
) -> None:
    bake = resolved(base, name="virtual", targets=["vm"])
    request = DocumentBake(bake=bake, disk=BAKED, started_at=AT, finished_at=AT)
    found = publish_bake_documents(request, "bake/x/run", archive, no_progress)
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
    request = pushed(archive, resolved(base, name="stopped"), tmp_path / "layer")

    def stop(phrase: str, _fraction: float | None) -> None:
        if phrase == "storing container.cdx.json":
            raise Cancelled

    with pytest.raises(Cancelled):
        publish_bake_documents(request, "bake/x/run", archive, stop)
    again = publish_bake_documents(request, "bake/x/run", archive, no_progress)
    assert len(again) == len(TYPES)


def test_no_value_of_the_environment_reaches_a_document(
    archive: Archive, base: BaseImage, tmp_path: Path
) -> None:
    bake = resolved(base, name="discreet", env={"PASSWORD": "hush-hush"})
    request = pushed(archive, bake, tmp_path / "layer")
    for one in publish_bake_documents(request, "bake/x/run", archive, no_progress):
        document = archive.objects.get_bytes(one.key)
        assert b"hush-hush" not in document
