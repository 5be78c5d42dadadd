from concurrent.futures import ThreadPoolExecutor

import pytest

from fleetwide.errors import ImageNotFound, RegistryUnavailable
from fleetwide.providers.attachments import attach, fetch, list_referrers
from fleetwide.providers.distribution import RegistryClient
from fleetwide.providers.progress import Progress, no_progress
from fleetwide.providers.signing import ENVELOPE_TYPE, load_or_create_key, sign, verify
from fleetwide.registry.digests import digest_of
from fleetwide.registry.oci import INDEX_TYPE, MANIFEST_TYPE
from fleetwide.registry.references import ImageReference
from fleetwide.registry.referrers import (
    Document,
    Referrer,
    Subject,
    artifact_manifest,
    claims,
    index_tag,
    is_referrers_tag,
    referrer_of,
    referrers_index,
)
from tests.integration.attachments.conftest import push_image

pytestmark = pytest.mark.integration
SBOM = Document("application/spdx+json", "sbom.spdx.json", b'{"spdxVersion":"SPDX-2.3"}')
NOTED = Document("application/vnd.cyclonedx+json", "sbom.cdx.json", b"{}", {"release": "baseos:1"})


def attach_one(
    client: RegistryClient,
    image: ImageReference,
    document: Document,
    progress: Progress = no_progress,
) -> Referrer:
    (referrer,) = attach(client, image, [document], progress)
    return referrer


def listed(client: RegistryClient, image: ImageReference) -> list[Referrer]:
    assert image.digest is not None
    return list_referrers(client, image.repository, image.digest)


def by_digest(*referrers: Referrer) -> list[Referrer]:
    return sorted(referrers, key=lambda one: one.digest)


@pytest.fixture(params=["client", "listing_client"])
def any_client(request: pytest.FixtureRequest) -> RegistryClient:
    """A registry without a list of referrers of its own, and one with."""
    found: RegistryClient = request.getfixturevalue(request.param)
    return found


def test_what_is_attached_is_listed_and_comes_back(any_client: RegistryClient) -> None:
    image = push_image(any_client, "attach/listed")
    assert listed(any_client, image) == []
    first, second = (attach_one(any_client, image, one) for one in (SBOM, NOTED))
    assert listed(any_client, image) == by_digest(first, second)
    assert (first.artifact_type, first.annotations) == ("application/spdx+json", {})
    assert second.annotations == {"release": "baseos:1"}
    assert fetch(any_client, image.repository, first) == SBOM.data
    # `{}` is the empty descriptor's content too: it is one blob, and no confusion.
    assert fetch(any_client, image.repository, second) == b"{}"
    clear(any_client, image)


def test_several_documents_are_attached_at_once_and_answered_in_order(
    any_client: RegistryClient,
) -> None:
    image = push_image(any_client, "attach/several")
    referrers = attach(any_client, image, [SBOM, NOTED])
    found = [fetch(any_client, image.repository, one) for one in referrers]
    assert found == [SBOM.data, NOTED.data]
    assert listed(any_client, image) == by_digest(*referrers)
    assert attach(any_client, image, []) == []
    clear(any_client, image)


def clear(client: RegistryClient, image: ImageReference) -> None:
    """Take the list and its claims away, for the next test of the same repository."""
    for tag in filter(is_referrers_tag, client.list_tags(image.repository)):
        reference = ImageReference(image.repository, tag=tag)
        digest = client.resolve(reference)
        client._call("DELETE", f"/v2/{image.repository}/manifests/{digest}", ok=(202, 404))


def test_attaching_again_changes_nothing(client: RegistryClient) -> None:
    image = push_image(client, "attach/again")
    first = attach_one(client, image, SBOM)
    tags = client.list_tags(image.repository)
    digests = [client.resolve(ImageReference(image.repository, tag=tag)) for tag in tags]
    by_tag = ImageReference(image.repository, tag="1.0")
    assert attach_one(client, by_tag, SBOM) == first
    assert client.list_tags(image.repository) == tags
    assert [client.resolve(ImageReference(image.repository, tag=tag)) for tag in tags] == digests
    assert listed(client, image) == [first]


def test_a_registry_that_lists_by_itself_gets_no_tags_of_ours(
    listing_client: RegistryClient,
) -> None:
    image = push_image(listing_client, "attach/untagged")
    attach_one(listing_client, image, SBOM)
    assert listing_client.list_tags(image.repository) == ["1.0"]


def test_many_who_attach_at_once_lose_nothing(client: RegistryClient) -> None:
    image = push_image(client, "attach/crowd")
    documents = [Document(f"text/x{n}", "x", b"%d" % n) for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        attached = list(pool.map(lambda one: attach_one(client, image, one), documents))
    assert listed(client, image) == by_digest(*attached)


def test_a_list_overwritten_by_one_who_did_not_see_ours_is_mended(
    client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very interleaving: another writer read the list before us and writes it after us."""
    image = push_image(client, "attach/race")
    put, raced = client.put_manifest, False

    def put_with_a_rival(reference: ImageReference, data: bytes, media_type: str) -> str:
        nonlocal raced
        if media_type == INDEX_TYPE and not raced:
            raced = True
            attach_one(client, image, NOTED)
        return put(reference, data, media_type)

    monkeypatch.setattr(client, "put_manifest", put_with_a_rival)
    first = attach_one(client, image, SBOM)
    assert raced
    assert [one.digest for one in listed(client, image)].count(first.digest) == 1
    assert {one.artifact_type for one in listed(client, image)} == {
        SBOM.artifact_type,
        NOTED.artifact_type,
    }


def test_what_another_program_listed_stays(client: RegistryClient) -> None:
    image = push_image(client, "attach/foreign")
    theirs = put_foreign(client, image)
    ours = attach_one(client, image, SBOM)
    assert listed(client, image) == by_digest(theirs, ours)


def put_foreign(client: RegistryClient, image: ImageReference) -> Referrer:
    """An artifact listed the plain way, without a claim."""
    assert image.digest is not None
    size = len(client.get_manifest(image).data)
    note = Document("text/plain", "note", b"note")
    manifest = artifact_manifest(Subject(MANIFEST_TYPE, image.digest, size), note)
    for data in (b"{}", b"note"):
        client.upload_blob(image.repository, data, digest_of(data))
    entry = referrer_of(manifest)
    client.put_manifest(image.pinned(entry.digest), manifest, MANIFEST_TYPE)
    tag = ImageReference(image.repository, tag=index_tag(image.digest))
    client.put_manifest(tag, referrers_index([entry]), INDEX_TYPE)
    return entry


def test_an_entry_whose_manifest_is_gone_does_not_stand_in_the_way(client: RegistryClient) -> None:
    image = push_image(client, "attach/gone")
    gone = attach_one(client, image, SBOM)
    client._call("DELETE", f"/v2/{image.repository}/manifests/{gone.digest}", ok=(202,))
    kept = attach_one(client, image, NOTED)
    assert listed(client, image) == [kept]


def test_a_tag_that_is_no_list_is_left_alone_and_told(client: RegistryClient) -> None:
    image = push_image(client, "attach/taken")
    assert image.digest is not None
    manifest = client.get_manifest(image)
    taken = ImageReference(image.repository, tag=index_tag(image.digest))
    client.put_manifest(taken, manifest.data, MANIFEST_TYPE)
    with pytest.raises(RegistryUnavailable, match="no list of referrers"):
        attach_one(client, image, SBOM)
    assert client.resolve(taken) == image.digest


def test_an_image_that_is_not_there_takes_no_document(client: RegistryClient) -> None:
    with pytest.raises(ImageNotFound):
        attach_one(client, ImageReference("attach/none", tag="1.0"), SBOM)
    assert list_referrers(client, "attach/none", "sha256:" + "ab" * 32) == []


class Cancelled(Exception):
    pass


def test_a_cancelled_attachment_can_be_made_again(client: RegistryClient) -> None:
    image = push_image(client, "attach/cancelled")

    def cancel_at_the_list(phrase: str, _fraction: float | None) -> None:
        if phrase.startswith("listing"):
            raise Cancelled

    with pytest.raises(Cancelled):
        attach_one(client, image, SBOM, cancel_at_the_list)
    assert image.digest is not None
    assert len(claims(client.list_tags(image.repository), image.digest)) == 1
    # Whoever attaches next lists what the cancelled one had claimed.
    attach_one(client, image, NOTED)
    assert len(listed(client, image)) == 2


def test_a_signed_document_makes_the_whole_way(
    client: RegistryClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = push_image(client, "attach/signed")
    key = load_or_create_key(tmp_path_factory.mktemp("key") / "signing.pem")
    envelope = sign(key, SBOM.data, SBOM.artifact_type)
    attach_one(client, image, Document(ENVELOPE_TYPE, "sbom.dsse.json", envelope))
    (found,) = (one for one in listed(client, image) if one.artifact_type == ENVELOPE_TYPE)
    fetched = fetch(client, image.repository, found)
    assert verify(fetched, key.verifying, SBOM.artifact_type) == SBOM.data
