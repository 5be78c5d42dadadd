import json
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from fleetwide.bakery.sbom import delta_inventory
from fleetwide.baseos.sbom import take_inventory
from fleetwide.baseos.sbom_cyclonedx import cyclonedx_document, cyclonedx_link
from fleetwide.baseos.sbom_spdx import spdx_document, spdx_link
from fleetwide.models.bakes import BakedDisk, BuiltLayer, Dependency, DependencyKind, ResolvedBake
from fleetwide.models.baseos import Architecture, BootMode
from fleetwide.models.os_releases import DiskImage
from fleetwide.registry.digests import digest_of
from tests.unit.bakes import resolved
from tests.unit.locked import small_set, subject
from tests.unit.test_rebase import built

OS = take_inventory(subject(), small_set())
BASE_SPDX, BASE_CYCLONEDX = spdx_document(OS), cyclonedx_document(OS)
DISK = DiskImage(
    digest="sha256:" + "d" * 64,
    size=10,
    used=10,
    boot=BootMode.BIOS,
    architecture=Architecture.AMD64,
    key="disks/d",
)
BAKED = BakedDisk(
    disk=DISK,
    changed_bytes=10,
    packages={"tool": "1.0", "libpq5": "15.1-0"},
    build_seconds=1,
)
WHEELS: dict[str, Any] = {
    "artifacts": [
        {
            "type": "wheel",
            "sha256": "1" * 64,
            "filename": "My_App-1.0-py3-none-any.whl",
            "url": "https://store.example/My_App.whl?signature=hush#frag",
        },
        {"type": "sdist", "sha256": "2" * 64, "filename": "helper-2.0.tar.gz"},
    ],
    "packages": ["libpq5"],
}


def needs(kind: DependencyKind, name: str, version: str, filename: str) -> Dependency:
    return Dependency(
        kind=kind,
        name=name,
        version=version,
        filename=filename,
        sha256="e" * 64,
        url=f"https://user:hush@index.example/{filename}?token=hush",
    )


DEPENDENCIES = [
    needs(
        DependencyKind.WHEEL,
        "Zope.Interface",
        "7.1",
        "zope.interface-7.1-cp311-cp311-linux_x86_64.whl",
    ),
    # Only builds helper-2.0.tar.gz.
    needs(DependencyKind.WHEEL, "hatchling", "1.27", "hatchling-1.27-py3-none-any.whl"),
    needs(DependencyKind.DEB, "libpq5", "15.1-0", "libpq5_15.1-0_amd64.deb"),
]


def wheel_bake() -> tuple[ResolvedBake, BuiltLayer]:
    bake = resolved(**WHEELS).model_copy(update={"dependencies": DEPENDENCIES})
    packages = {"my-app": "1.0", "helper": "2.0", "zope.interface": "7.1", "libpq5": "15.1-0"}
    return bake, built(packages=packages)


def deb_bake() -> tuple[ResolvedBake, BuiltLayer]:
    artifacts = [{"type": "deb", "sha256": "3" * 64, "filename": "tool.deb"}]
    bake = resolved(artifacts=artifacts)
    bake = bake.model_copy(update={"dependencies": DEPENDENCIES[2:]})
    return bake, built(packages={"tool": "1.0", "libpq5": "15.1-0"})


def image_bake() -> tuple[ResolvedBake, BuiltLayer]:
    image = {"type": "image", "sha256": "4" * 64, "filename": "payload", "repository": "apps/other"}
    return resolved(artifacts=[image]), built()


def vm_bake() -> tuple[ResolvedBake, BakedDisk]:
    return deb_bake()[0], BAKED


BAKES = pytest.mark.parametrize("make", [wheel_bake, deb_bake, image_bake, vm_bake])


def spdx(make: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        spdx_document(delta_inventory(*make()), spdx_link(BASE_SPDX))
    )
    return document


def cyclonedx(make: Any) -> dict[str, Any]:
    link = cyclonedx_link(BASE_CYCLONEDX)
    document: dict[str, Any] = json.loads(cyclonedx_document(delta_inventory(*make()), link))
    return document


def purls(make: Any) -> set[str]:
    return {one.purl for one in delta_inventory(*make()).components}


@BAKES
def test_both_documents_are_valid_with_and_without_one_of_the_base(make: Any) -> None:
    inventory = delta_inventory(*make())
    for cyclonedx_below in (cyclonedx_link(BASE_CYCLONEDX), None):
        text = cyclonedx_document(inventory, cyclonedx_below).decode()
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    for spdx_below in (spdx_link(BASE_SPDX), None):
        document = json.loads(spdx_document(inventory, spdx_below))
        parsed = JsonLikeDictParser().parse(document)  # type: ignore[no-untyped-call]
        assert validate_full_spdx_document(parsed) == []


@BAKES
def test_the_same_bake_has_the_same_documents(make: Any) -> None:
    assert (spdx(make), cyclonedx(make)) == (spdx(make), cyclonedx(make))


def test_python_packages_are_told_once_with_the_digest_of_their_file() -> None:
    parts = {one.purl: one for one in delta_inventory(*wheel_bake()).components}
    assert set(parts) == {
        "pkg:pypi/my-app@1.0",
        "pkg:pypi/helper@2.0",
        "pkg:pypi/zope-interface@7.1",
        "pkg:deb/debian/libpq5@15.1-0?arch=amd64&distro=debian-12",
    }
    assert parts["pkg:pypi/zope-interface@7.1"].sha256 == "e" * 64
    assert parts["pkg:pypi/my-app@1.0"].sha256 == "1" * 64
    assert parts["pkg:pypi/my-app@1.0"].is_application


def test_a_deb_is_told_as_the_file_and_as_the_package_that_came_of_it() -> None:
    assert purls(deb_bake) == {
        "pkg:generic/tool.deb?checksum=sha256:" + "3" * 64,
        "pkg:deb/debian/tool@1.0?distro=debian-12",
        "pkg:deb/debian/libpq5@15.1-0?arch=amd64&distro=debian-12",
    }


def test_a_vm_tells_the_same_packages_as_a_container_of_the_same_artifacts() -> None:
    assert purls(vm_bake) == purls(deb_bake)
    bake, layer = wheel_bake()
    disk = BAKED.model_copy(update={"packages": layer.packages})
    assert purls(lambda: (bake, disk)) == purls(wheel_bake)


def test_an_image_as_payload_is_told_by_its_repository_and_digest() -> None:
    (purl,) = purls(image_bake)
    assert purl == f"pkg:oci/other@sha256:{'4' * 64}?arch=amd64&repository_url=apps/other"


@pytest.mark.parametrize("filename", ["strange.whl", "app-1.0.whl"])
def test_a_wheel_with_a_strange_name_is_told_as_a_file(filename: str) -> None:
    artifact = {"type": "wheel", "sha256": "1" * 64, "filename": filename}
    (part,) = delta_inventory(resolved(artifacts=[artifact]), built()).components
    assert part.purl.startswith(f"pkg:generic/{filename}?")


def test_it_is_about_the_layer_or_the_disk_and_not_about_the_manifest() -> None:
    layer = built().layer.digest
    assert cyclonedx(deb_bake)["metadata"]["component"]["purl"] == (
        f"pkg:generic/hello@1.0.0?arch=amd64&checksum={layer}"
    )
    assert DISK.digest in cyclonedx(vm_bake)["metadata"]["component"]["purl"]


def test_spdx_links_to_the_base_s_document_by_namespace_and_digest() -> None:
    document = spdx(deb_bake)
    assert document["externalDocumentRefs"] == [
        {
            "externalDocumentId": "DocumentRef-Base",
            "spdxDocument": json.loads(BASE_SPDX)["documentNamespace"],
            "checksum": {
                "algorithm": "SHA256",
                "checksumValue": digest_of(BASE_SPDX).removeprefix("sha256:"),
            },
        }
    ]
    assert {
        "spdxElementId": "SPDXRef-Image",
        "relationshipType": "DEPENDS_ON",
        "relatedSpdxElement": "DocumentRef-Base:SPDXRef-Image",
    } in document["relationships"]


def test_cyclonedx_links_to_the_base_s_document_by_its_bom_link_and_digest() -> None:
    serial = json.loads(BASE_CYCLONEDX)["serialNumber"].removeprefix("urn:uuid:")
    assert cyclonedx(deb_bake)["metadata"]["component"]["externalReferences"] == [
        {
            "type": "bom",
            "url": f"urn:cdx:{serial}/1",
            "hashes": [
                {"alg": "SHA-256", "content": digest_of(BASE_CYCLONEDX).removeprefix("sha256:")}
            ],
        }
    ]


def test_a_delta_does_not_claim_to_contain_the_operating_system() -> None:
    kinds = {
        one["relationshipType"]
        for one in spdx(deb_bake)["relationships"]
        if one["relatedSpdxElement"] == "SPDXRef-OperatingSystem"
    }
    assert kinds == {"DEPENDS_ON"}


def test_documents_upon_another_base_have_another_id() -> None:
    other = spdx_document(take_inventory(subject(version="2"), small_set()))
    inventory = delta_inventory(*deb_bake())
    ids = {
        json.loads(spdx_document(inventory, below))["documentNamespace"]
        for below in (None, spdx_link(BASE_SPDX), spdx_link(other))
    }
    assert len(ids) == 3


def test_no_key_to_an_address_is_told() -> None:
    for document in (spdx(wheel_bake), cyclonedx(wheel_bake)):
        text = json.dumps(document)
        assert "hush" not in text
        assert "https://store.example/My_App.whl" in text
        assert "https://index.example/libpq5_15.1-0_amd64.deb" in text
