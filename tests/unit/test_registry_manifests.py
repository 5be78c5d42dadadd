"""Manifests: their parts, and that hostile or ambiguous bytes are refused."""

import json
from typing import Any

import pytest

from fleetwide.registry.digests import digest_of
from fleetwide.registry.manifests import (
    FOREIGN_LAYER,
    MAX_DEPTH,
    MAX_DESCRIPTORS,
    ManifestInvalid,
    ManifestTooLarge,
    parse_manifest,
)
from fleetwide.registry.names import DigestUnsupported
from fleetwide.registry.oci import (
    CONFIG_TYPE,
    DOCKER_LIST_TYPE,
    DOCKER_MANIFEST_TYPE,
    INDEX_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
)
from tests.registry_index import blob, descriptor, image, index


def document(**changes: Any) -> dict[str, Any]:
    whole = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, "config"),
        "layers": [descriptor(LAYER_TYPE, "one")],
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not ...}


def parse(found: Any, media_type: str = MANIFEST_TYPE) -> Any:
    return parse_manifest(json.dumps(found).encode(), media_type)


def test_an_image_tells_its_blobs_and_its_subject() -> None:
    parsed = image("one", "two", "one", subject=blob("subject"))
    assert parsed.digest == digest_of(parsed.data)
    assert [one.digest for one in parsed.blobs] == [blob("config"), blob("one"), blob("two")]
    assert len(parsed.layers) == 3
    assert parsed.content_size == len("config") + len("one") + len("two")
    assert parsed.subject is not None
    assert parsed.subject.digest == blob("subject")
    assert parsed.artifact_type == CONFIG_TYPE
    assert parsed.children == ()


def test_an_index_tells_its_manifests() -> None:
    child = image("one")
    parsed = index(child)
    assert [one.digest for one in parsed.children] == [child.digest]
    assert parsed.blobs == ()
    assert parsed.artifact_type == ""
    assert parsed.is_index


@pytest.mark.parametrize(
    "foreign", [FOREIGN_LAYER, "application/vnd.oci.image.layer.nondistributable.v1.tar"]
)
def test_layers_that_need_not_be_here_stand_apart(foreign: str) -> None:
    parsed = parse(document(layers=[descriptor(foreign, "one"), descriptor(LAYER_TYPE, "two")]))
    assert [one.digest for one in parsed.foreign] == [blob("one")]
    assert [one.digest for one in parsed.layers] == [blob("two")]


@pytest.mark.parametrize("kind", [DOCKER_MANIFEST_TYPE, MANIFEST_TYPE])
def test_the_content_type_decides_where_the_document_is_silent(kind: str) -> None:
    parsed = parse(document(mediaType=...), f"{kind}; charset=utf-8")
    assert parsed.media_type == kind


def test_the_document_decides_where_no_content_type_was_sent() -> None:
    assert parse(document(), "").media_type == MANIFEST_TYPE


def test_lists_may_be_null_as_go_writes_empty_ones() -> None:
    assert parse(document(layers=None)).layers == ()


WRONG: dict[str, Any] = {
    "schema 1": document(schemaVersion=1),
    "schema true": document(schemaVersion=True),
    "no schema": document(schemaVersion=...),
    "another type inside": document(mediaType=DOCKER_MANIFEST_TYPE),
    "both kinds at once": document(manifests=[]),
    "no config": document(config=...),
    "config a list": document(config=[]),
    "layers an object": document(layers={}),
    "layer a text": document(layers=["x"]),
    "negative size": document(layers=[{**descriptor(LAYER_TYPE, "one"), "size": -1}]),
    "size true": document(layers=[{**descriptor(LAYER_TYPE, "one"), "size": True}]),
    "size too big": document(layers=[{**descriptor(LAYER_TYPE, "one"), "size": 2**63}]),
    "size a fraction": document(layers=[{**descriptor(LAYER_TYPE, "one"), "size": 1.5}]),
    "two sizes": document(
        layers=[descriptor(LAYER_TYPE, "one"), {**descriptor(LAYER_TYPE, "one"), "size": 9}]
    ),
    "no digest": document(layers=[{"mediaType": LAYER_TYPE, "size": 1}]),
    "digest a number": document(layers=[{**descriptor(LAYER_TYPE, "one"), "digest": 1}]),
    "digest a path": document(layers=[{**descriptor(LAYER_TYPE, "one"), "digest": "sha256:../x"}]),
    "layer of no type": document(layers=[{**descriptor(LAYER_TYPE, "one"), "mediaType": ""}]),
    "subject a text": document(subject="x"),
    "artifact type a number": document(artifactType=1),
    "artifact type with a line end": document(artifactType="a/b\n"),
    "annotations a list": document(annotations=[]),
    "annotation a number": document(annotations={"a": 1}),
    "annotation with NUL": document(annotations={"a": "\0"}),
    "annotation with half a character": document(annotations={"a": "\ud800"}),
    "case differs": document(Layers=[]),
    "case of a descriptor differs": document(
        layers=[{**descriptor(LAYER_TYPE, "one"), "Digest": blob("two")}]
    ),
    "too many": document(layers=[{}] * (MAX_DESCRIPTORS + 1)),
    "a list": [],
    "nothing": None,
}


@pytest.mark.parametrize("found", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_manifest_is_refused(found: Any) -> None:
    with pytest.raises(ManifestInvalid):
        parse(found)


RAW = {
    "no JSON": b"{",
    "no UTF-8": b'{"schemaVersion": 2, "a": "\xff"}',
    "a mark at the start": b"\xef\xbb\xbf{}",
    "a key twice": json.dumps(document()).encode()[:-1] + b', "schemaVersion": 2}',
    "not a number": json.dumps(document(annotations=...)).encode()[:-1] + b', "x": NaN}',
    "a number of many digits": b'{"schemaVersion": ' + b"2" * 5000 + b"}",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "just too deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
}


@pytest.mark.parametrize("data", RAW.values(), ids=RAW.keys())
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        parse_manifest(data, MANIFEST_TYPE)


@pytest.mark.parametrize(
    "kind", ["application/json", "application/vnd.docker.distribution.manifest.v1+prettyjws", "x"]
)
def test_other_kinds_of_manifest_are_refused(kind: str) -> None:
    with pytest.raises(ManifestInvalid):
        parse(document(mediaType=...), kind)


def test_an_index_with_layers_is_refused() -> None:
    with pytest.raises(ManifestInvalid):
        parse({"schemaVersion": 2, "manifests": [], "layers": []}, DOCKER_LIST_TYPE)
    with pytest.raises(ManifestInvalid):
        parse(document(mediaType=...), INDEX_TYPE)


def test_other_algorithms_are_said_to_be_unsupported() -> None:
    other = {**descriptor(LAYER_TYPE, "one"), "digest": "sha512:" + "0" * 128}
    with pytest.raises(DigestUnsupported):
        parse(document(layers=[other]))


def test_a_manifest_has_a_limit() -> None:
    data = json.dumps(document()).encode()
    assert parse_manifest(data, MANIFEST_TYPE, limit=len(data)).data == data
    with pytest.raises(ManifestTooLarge):
        parse_manifest(data, MANIFEST_TYPE, limit=len(data) - 1)
