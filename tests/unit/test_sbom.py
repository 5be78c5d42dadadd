import json
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from fleetwide.baseos.sbom import take_inventory
from fleetwide.baseos.sbom_cyclonedx import cyclonedx_document
from fleetwide.baseos.sbom_spdx import spdx_document
from fleetwide.models.baseos import Target
from tests.unit.locked import DIGEST, package, small_set, subject

VM = {"target": Target.VM, "repository": ""}
ROOT = f"pkg:oci/baseos@{DIGEST}?arch=amd64&repository_url=os/baseos"
SSL = "pkg:deb/debian/libssl3@3.0.22-1~deb12u2?arch=amd64&distro=debian-12"


def spdx(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        spdx_document(take_inventory(subject(**changes), small_set()))
    )
    return document


def cyclonedx(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        cyclonedx_document(take_inventory(subject(**changes), small_set()))
    )
    return document


@pytest.mark.parametrize("changes", [{}, VM], ids=["container", "vm"])
def test_both_documents_are_valid(changes: dict[str, Any]) -> None:
    text = cyclonedx_document(take_inventory(subject(**changes), small_set())).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    parsed = JsonLikeDictParser().parse(spdx(**changes))  # type: ignore[no-untyped-call]
    assert validate_full_spdx_document(parsed) == []


def test_an_image_without_packages_has_valid_documents_too() -> None:
    text = cyclonedx_document(take_inventory(subject(), [])).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    parsed = JsonLikeDictParser().parse(json.loads(spdx_document(take_inventory(subject(), []))))  # type: ignore[no-untyped-call]
    assert validate_full_spdx_document(parsed) == []


@pytest.mark.parametrize("write", [spdx_document, cyclonedx_document])
def test_the_order_of_the_packages_makes_no_difference(write: Any) -> None:
    there, back = (take_inventory(subject(), some) for some in (small_set(), small_set()[::-1]))
    assert write(there) == write(back)


@pytest.mark.parametrize(
    ("read", "key"), [(spdx, "documentNamespace"), (cyclonedx, "serialNumber")]
)
def test_only_the_same_content_has_the_same_id(read: Any, key: str) -> None:
    ids = {read()[key], read(**VM)[key], read(digest="sha256:" + "cd" * 32)[key]}
    assert len(ids) == 3
    assert all(one.startswith("urn:uuid:") for one in ids)
    assert read()[key] in ids


def test_the_two_formats_do_not_share_an_id() -> None:
    assert spdx()["documentNamespace"] != cyclonedx()["serialNumber"]


def test_cyclonedx_tells_the_image_and_a_package() -> None:
    document = cyclonedx()
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    root = document["metadata"]["component"]
    assert (root["type"], root["purl"]) == ("container", ROOT)
    assert root["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    parts = {one["bom-ref"]: one for one in document["components"]}
    assert parts["os:debian-12"]["type"] == "operating-system"
    assert len(parts) == len(small_set()) + 1
    ssl = parts[SSL]
    assert ssl["hashes"][0]["content"] == small_set()[0].sha256
    assert ssl["supplier"]["name"] == "Debian OpenSSL Team"
    ancestor = "pkg:deb/debian/openssl@3.0.22-1~deb12u2?arch=source&distro=debian-12"
    assert ssl["pedigree"]["ancestors"][0]["purl"] == ancestor


def test_cyclonedx_ties_the_packages_together() -> None:
    edges = {one["ref"]: one["dependsOn"] for one in cyclonedx()["dependencies"]}
    assert len(edges[ROOT]) == len(small_set()) + 1
    assert [PackageURL.from_string(one).name for one in edges[SSL]] == ["libc6"]
    assert {end for ends in edges.values() for end in ends} - {"os:debian-12"} < set(edges)


def test_spdx_tells_the_image_and_a_package() -> None:
    document = spdx()
    # Sources come last and may be called as one of their packages.
    parts = {one["name"]: one for one in reversed(document["packages"])}
    assert document["creationInfo"]["created"] == "2023-11-14T22:13:20Z"
    assert parts["baseos"]["externalRefs"][0]["referenceLocator"] == ROOT
    assert parts["debian"]["versionInfo"] == "12"
    assert parts["libssl3"]["externalRefs"][0]["referenceLocator"] == SSL
    supplier = "Organization: Debian OpenSSL Team (pkg-openssl-devel@alioth-lists.debian.net)"
    assert parts["libssl3"]["supplier"] == supplier
    assert parts["libgcc-s1"]["supplier"] == "Person: Matthias Klose (doko@debian.org)"
    assert parts["mawk"]["supplier"] == "NOASSERTION"
    assert "homepage" not in parts["base-files"]


def test_spdx_ties_image_packages_and_sources_together() -> None:
    document = spdx()
    names = {one["SPDXID"]: one["name"] for one in document["packages"]}
    names |= {"SPDXRef-DOCUMENT": "DOCUMENT"}
    found = {
        (names[one["spdxElementId"]], one["relationshipType"], names[one["relatedSpdxElement"]])
        for one in document["relationships"]
    }
    assert ("DOCUMENT", "DESCRIBES", "baseos") in found
    assert ("baseos", "CONTAINS", "libssl3") in found
    assert ("libssl3", "GENERATED_FROM", "openssl") in found
    assert ("libssl3", "DEPENDS_ON", "libc6") in found
    # One source package for both binaries that were built from it.
    assert list(names.values()).count("gcc-12") == 1


def test_names_that_differ_only_in_signs_keep_ids_apart() -> None:
    both = [package("lib+x"), package("lib-x")]
    parts = json.loads(spdx_document(take_inventory(subject(), both)))["packages"]
    assert len({one["SPDXID"] for one in parts}) == len(parts)


def test_a_disk_is_a_file_with_its_hash_and_an_unknown_suite_keeps_its_name() -> None:
    root = cyclonedx(**VM, suite="sid")["metadata"]["component"]
    assert root["type"] == "file"
    assert root["purl"] == f"pkg:generic/baseos@20261122.1?arch=amd64&checksum={DIGEST}"
    parts = {one["name"]: one for one in cyclonedx(**VM, suite="sid")["components"]}
    assert parts["libc6"]["purl"].endswith("distro=debian-sid")
