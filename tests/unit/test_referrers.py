import json
from typing import Any

import pytest

from fleetwide.errors import RegistryUnavailable
from fleetwide.registry.digests import digest_of
from fleetwide.registry.oci import MANIFEST_TYPE
from fleetwide.registry.referrers import (
    Document,
    Referrer,
    Subject,
    artifact_manifest,
    claim_tag,
    claims,
    index_tag,
    is_referrers_tag,
    read_referrers,
    referrer_of,
    referrers_index,
)
from tests.unit.locked import DIGEST

SUBJECT = Subject(MANIFEST_TYPE, DIGEST, 512)
SBOM = Document("application/spdx+json", "sbom.spdx.json", b'{"spdxVersion":"SPDX-2.3"}')
OTHER = "sha256:" + "cd" * 32


def referrer(digit: str, **annotations: str) -> Referrer:
    digest = "sha256:" + digit * 64
    return Referrer(artifact_type="a/b", digest=digest, size=1, annotations=annotations)


def test_the_manifest_ties_the_document_to_the_image() -> None:
    manifest = json.loads(artifact_manifest(SUBJECT, SBOM))
    assert manifest["artifactType"] == "application/spdx+json"
    assert manifest["subject"] == {"mediaType": MANIFEST_TYPE, "digest": DIGEST, "size": 512}
    (layer,) = manifest["layers"]
    assert (layer["digest"], layer["size"]) == (digest_of(SBOM.data), len(SBOM.data))
    assert layer["annotations"] == {"org.opencontainers.image.title": "sbom.spdx.json"}
    # The digest that the image specification gives for the empty descriptor.
    assert manifest["config"]["digest"] == (
        "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )
    assert "annotations" not in manifest


def test_the_list_entry_repeats_type_size_and_annotations() -> None:
    noted = Document("a/b", "x", b"x", {"release": "baseos:1"})
    manifest = artifact_manifest(SUBJECT, noted)
    assert referrer_of(manifest) == Referrer(
        artifact_type="a/b",
        digest=digest_of(manifest),
        size=len(manifest),
        annotations={"release": "baseos:1"},
    )


def test_an_older_manifest_is_typed_by_its_config() -> None:
    config = {"mediaType": "application/vnd.example.config"}
    entry = referrer_of(json.dumps({"config": config}).encode())
    assert entry.artifact_type == "application/vnd.example.config"


def test_the_list_is_read_back_in_order_and_each_once() -> None:
    index = json.loads(referrers_index([referrer("b"), referrer("a", k="v"), referrer("b")]))
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert {one["mediaType"] for one in index["manifests"]} == {MANIFEST_TYPE}
    assert read_referrers(index) == [referrer("a", k="v"), referrer("b")]
    assert read_referrers({"manifests": None}) == []


@pytest.mark.parametrize(
    "index",
    [{}, {"manifests": [{}]}, {"manifests": ["x"]}, {"manifests": [{"digest": "x", "size": 1}]}],
)
def test_what_is_no_list_is_refused(index: dict[str, Any]) -> None:
    with pytest.raises(RegistryUnavailable, match="no OCI index"):
        read_referrers(index)


def test_tags_of_lists_and_claims_are_told_from_those_of_people() -> None:
    mine, theirs = claim_tag(DIGEST, OTHER), claim_tag(OTHER, DIGEST)
    assert index_tag(DIGEST) == "sha256-" + "ab" * 32
    assert len(mine) <= 128
    tags = [mine, theirs, index_tag(DIGEST), f"{index_tag(DIGEST)}.sig", "1.0"]
    assert claims(tags, DIGEST) == {mine}
    assert all(is_referrers_tag(tag) for tag in (mine, theirs, index_tag(DIGEST)))
    for name in ("1.0", "sha256-1.0", "sha256", "x" + index_tag(DIGEST), "sha256-" + "x" * 64):
        assert not is_referrers_tag(name)
