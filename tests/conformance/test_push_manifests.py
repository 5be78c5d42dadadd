"""Push of manifests: every kind of document, by tag, by digest, with tags, and bad ones."""

import json
import secrets
from collections.abc import Callable

import pytest

from tests.conformance.client import Registry, is_error, location
from tests.oci_objects import (
    FOREIGN,
    INDEX,
    LAYER,
    MANIFEST,
    Manifest,
    artifact,
    descriptor,
    digest_of,
    image,
    index,
)

pytestmark = pytest.mark.integration


def _foreign() -> Manifest:
    made = image()
    elsewhere = descriptor(secrets.token_bytes(9), FOREIGN, urls=["https://example.com/layer"])
    document = json.loads(made.data)
    document["layers"].append(elsewhere)
    return Manifest(json.dumps(document).encode(), blobs=made.blobs)


def _uncompressed() -> Manifest:
    made = image()
    text = made.data.decode().replace(LAYER, "application/vnd.oci.image.layer.v1.tar")
    return Manifest(text.encode(), blobs=made.blobs)


def _missing_subject() -> Manifest:
    return artifact(subject=descriptor(secrets.token_bytes(9), MANIFEST))


SHAPES: dict[str, Callable[[], Manifest]] = {
    "image": image,
    "uncompressed": _uncompressed,
    "many-layers": lambda: image(6),
    "no-layers": lambda: image(0),
    "large": lambda: image(annotations={"large": "x" * 3_900_000}),
    "custom-fields": lambda: image(custom={"field": [1, 2, {"deep": None}]}),
    "non-distributable": _foreign,
    "index": lambda: index(image(), image()),
    "nested-index": lambda: index(index(image()), image()),
    "empty-index": index,
    "index-with-subject": lambda: index(image(), subject=image().descriptor()),
    "artifact": artifact,
    "artifact-without-layers": lambda: artifact(layers=0),
    "artifact-index": lambda: index(artifact(), artifactType="application/vnd.example.set"),
    "missing-subject": _missing_subject,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_document_goes_in_by_tag_and_by_digest_and_comes_out_as_it_was(
    registry: Registry, name: str, shape: str
) -> None:
    made = SHAPES[shape]()
    answer = registry.push(name, made, ["v1", made.digest])
    assert answer.headers["Docker-Content-Digest"] == made.digest
    for reference in ("v1", made.digest):
        found = registry.get(name, reference, {"Accept": made.media_type})
        assert (found.status_code, found.content) == (200, made.data)
        assert found.headers["Content-Type"] == made.media_type


def test_a_pushed_manifest_is_at_its_location(registry: Registry, name: str) -> None:
    made = image()
    answer = registry.push(name, made, ["v1"])
    found = registry.http.get(location(answer), headers={"Accept": MANIFEST})
    assert found.content == made.data


def test_a_data_field_needs_no_other_care(registry: Registry, name: str) -> None:
    made = artifact(layers=0)
    document = json.loads(made.data)
    document["config"]["data"] = "e30="
    embedded = Manifest(json.dumps(document).encode(), blobs=made.blobs)
    registry.push(name, embedded, ["v1"])
    found = registry.get(name, "v1", {"Accept": MANIFEST})
    assert found.content == embedded.data


def test_a_sparse_index_is_taken_or_refused_by_name(registry: Registry, name: str) -> None:
    sparse = index(image(), image())
    registry.push(name, sparse.children[0])
    answer = registry.put(name, "v1", sparse)
    assert answer.status_code == 201 or is_error(
        answer, answer.status_code, "MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN"
    )


def test_a_tag_moves_to_another_manifest(registry: Registry, name: str) -> None:
    first, second = image(), image()
    registry.push(name, first, ["v1"])
    registry.push(name, second, ["v1"])
    found = registry.get(name, "v1", {"Accept": MANIFEST})
    assert found.content == second.data
    assert registry.get(name, first.digest, {"Accept": MANIFEST}).content == first.data


def test_tags_may_come_with_a_push_by_digest(registry: Registry, name: str) -> None:
    made = image()
    registry.push(name, made)
    tags = [f"v{number}" for number in range(10)]
    query = "&".join(f"tag={tag}" for tag in tags)
    answer = registry.put(name, f"{made.digest}?{query}", made)
    assert answer.status_code == 201
    said = {tag.strip() for value in answer.headers.get_list("OCI-Tag") for tag in value.split(",")}
    assert said == set(tags)
    for tag in tags:
        assert registry.get(name, tag, {"Accept": MANIFEST}).content == made.data


def test_the_answer_names_the_subject(registry: Registry, name: str) -> None:
    subject = image()
    registry.push(name, subject)
    answer = registry.push(name, artifact(subject=subject.descriptor()))
    assert answer.headers["OCI-Subject"] == subject.digest


def test_a_manifest_of_missing_blobs_is_refused(registry: Registry, name: str) -> None:
    made = image()
    registry.push_blob(name, made.blobs[0])
    for reference in ("v1", made.digest):
        answer = registry.put(name, reference, made)
        assert answer.status_code in {400, 404}
        assert is_error(answer, answer.status_code, "MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN")
    assert registry.get(name, "v1").status_code == 404


def test_a_manifest_of_another_repositorys_blobs_is_refused(registry: Registry, name: str) -> None:
    made = image()
    registry.push(f"{name}/private", made, ["v1"])
    answer = registry.put(f"{name}/other", "v1", made)
    assert answer.status_code in {400, 404}
    assert is_error(answer, answer.status_code, "MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN")


def test_a_manifest_under_a_digest_that_is_not_its_own_is_refused(
    registry: Registry, name: str
) -> None:
    made, other = image(), image()
    registry.push(name, made)
    answer = registry.put(name, other.digest, made)
    assert is_error(answer, 400, "DIGEST_INVALID", "MANIFEST_INVALID")


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"", MANIFEST),
        (b"{", MANIFEST),
        (b"[]", MANIFEST),
        (b'{"schemaVersion":2}', MANIFEST),
        (b'{"schemaVersion":1,"mediaType":"%s"}' % INDEX.encode(), INDEX),
        (b'{"schemaVersion":2,"mediaType":"%s","manifests":{}}' % INDEX.encode(), INDEX),
        (b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % INDEX.encode(), MANIFEST),
        (b"\xff\xfe", MANIFEST),
    ],
    ids=["nothing", "half", "list", "bare", "schema-1", "no-list", "other-type", "no-text"],
)
def test_what_is_no_manifest_is_refused(
    registry: Registry, name: str, data: bytes, media_type: str
) -> None:
    answer = registry.put(name, "v1", Manifest(data, media_type))
    assert is_error(answer, 400, "MANIFEST_INVALID")


@pytest.mark.parametrize(
    "tag",
    [".dot", "-dash", "a" * 129, "b%20lank", "semi;colon"],
    ids=["dot", "dash", "long", "blank", "semicolon"],
)
def test_a_tag_that_cannot_be_is_refused(registry: Registry, name: str, tag: str) -> None:
    made = image()
    registry.push(name, made)
    answer = registry.put(name, tag, made)
    assert answer.status_code in {400, 404}
    # Docker's specification has a code for it, and OCI's none.
    assert answer.json()["errors"][0]["code"] in {"TAG_INVALID", "MANIFEST_INVALID"}


def test_a_manifest_that_is_far_too_large_is_refused(registry: Registry, name: str) -> None:
    made = image(annotations={"large": "x" * 6_000_000})
    for blob in made.blobs:
        registry.push_blob(name, blob)
    answer = registry.put(name, "v1", made)
    assert is_error(answer, 413)


def test_sha512_by_digest_works_or_says_that_it_is_unsupported(
    registry: Registry, name: str
) -> None:
    made = image()
    registry.push(name, made)
    digest = digest_of(made.data, "sha512")
    answer = registry.put(name, digest, made)
    if answer.status_code == 201:
        assert registry.get(name, digest).content == made.data
    else:
        assert is_error(answer, 400, "UNSUPPORTED")
