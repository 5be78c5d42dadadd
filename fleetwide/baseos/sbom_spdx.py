"""A bill of materials as SPDX 2.3 JSON (ISO/IEC 5962)."""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from fleetwide.baseos.sbom import (
    TOOL,
    Component,
    Inventory,
    LinkedDocument,
    SbomSubject,
    Source,
)
from fleetwide.registry.digests import canonical_json, digest_of, hex_of
from fleetwide.registry.oci import rfc3339

ARTIFACT_TYPE = "application/spdx+json"
DOCUMENT_ID = "SPDXRef-DOCUMENT"
IMAGE_ID = "SPDXRef-Image"
SYSTEM_ID = "SPDXRef-OperatingSystem"
BASE_DOCUMENT_ID = "DocumentRef-Base"
UNKNOWN = "NOASSERTION"
# Debian's field does not tell a person from a team; the words that teams use do.
_TEAM = re.compile(r"team|maintainers|developers|group|project|packag|lists?\.", re.IGNORECASE)


def spdx_document(inventory: Inventory, below: LinkedDocument | None = None) -> bytes:
    """The document about ``inventory``; equal input gives equal bytes.

    ``below`` is the document about the base that the subject lies upon.
    """
    subject = inventory.subject
    sources = {one.source.purl: _source(one.source) for one in inventory.components if one.source}
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT_ID,
        "name": f"{subject.name}-{subject.version}-{subject.target}",
        "documentNamespace": inventory.identity("spdx", below).urn,
        "creationInfo": {
            "created": rfc3339(subject.source_date_epoch),
            "creators": [f"Tool: {TOOL}"],
        },
        **(_link(below) if below else {}),
        "packages": [
            _image(subject),
            _operating_system(subject),
            *map(_package, inventory.components),
            *(sources[purl] for purl in sorted(sources)),
        ],
        "relationships": [_relationship(*one) for one in _relations(inventory, below)],
    }
    return canonical_json(document)


def spdx_link(document: bytes) -> LinkedDocument:
    """A link to a document of ours."""
    namespace = str(json.loads(document)["documentNamespace"])
    return LinkedDocument(namespace, hex_of(digest_of(document)))


def _link(below: LinkedDocument) -> dict[str, Any]:
    (checksum,) = _sha256(below.sha256)
    reference = {
        "externalDocumentId": BASE_DOCUMENT_ID,
        "spdxDocument": below.uri,
        "checksum": checksum,
    }
    return {"externalDocumentRefs": [reference]}


def _element(spdx_id: str, name: str, **more: Any) -> dict[str, Any]:
    """A package of the document; what is not known is left out."""
    return {
        "SPDXID": spdx_id,
        "name": name,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": False,
        **{key: value for key, value in more.items() if value},
    }


def _image(subject: SbomSubject) -> dict[str, Any]:
    return _element(
        IMAGE_ID,
        subject.name,
        versionInfo=subject.version,
        primaryPackagePurpose="CONTAINER" if subject.is_image else "FILE",
        checksums=_sha256(subject.sha256),
        externalRefs=_purl(subject.purl),
    )


def _operating_system(subject: SbomSubject) -> dict[str, Any]:
    """Scanners read from it whose advisories hold for the packages."""
    return _element(
        SYSTEM_ID,
        subject.distribution.value,
        versionInfo=subject.release_number,
        primaryPackagePurpose="OPERATING_SYSTEM",
    )


def _package(component: Component) -> dict[str, Any]:
    return _element(
        _package_id(component),
        component.name,
        versionInfo=component.version,
        primaryPackagePurpose="APPLICATION" if component.is_application else "",
        downloadLocation=_web_address(component.url),
        supplier=_supplier(component),
        checksums=_sha256(component.sha256),
        homepage=_web_address(component.homepage),
        summary=component.summary,
        externalRefs=_purl(component.purl),
    )


def _source(source: Source) -> dict[str, Any]:
    return _element(
        _source_id(source),
        source.name,
        versionInfo=source.version,
        primaryPackagePurpose="SOURCE",
        externalRefs=_purl(source.purl),
    )


def _supplier(component: Component) -> str:
    name, email = component.maintainer, component.maintainer_email
    if not name:
        return UNKNOWN
    kind = "Organization" if _TEAM.search(f"{name} {email}") else "Person"
    return f"{kind}: {name} ({email})" if email else f"{kind}: {name}"


def _relations(
    inventory: Inventory, below: LinkedDocument | None
) -> Iterator[tuple[str, str, str]]:
    ids = {component.purl: _package_id(component) for component in inventory.components}
    yield DOCUMENT_ID, "DESCRIBES", IMAGE_ID
    yield IMAGE_ID, "DEPENDS_ON" if inventory.is_delta else "CONTAINS", SYSTEM_ID
    if below is not None:
        yield IMAGE_ID, "DEPENDS_ON", f"{BASE_DOCUMENT_ID}:{IMAGE_ID}"
    for one in inventory.components:
        start = ids[one.purl]
        yield IMAGE_ID, "CONTAINS", start
        if one.source is not None:
            yield start, "GENERATED_FROM", _source_id(one.source)
        for end in one.depends_on:
            yield start, "DEPENDS_ON", ids[end]


def _relationship(start: str, kind: str, end: str) -> dict[str, str]:
    return {"spdxElementId": start, "relationshipType": kind, "relatedSpdxElement": end}


def _package_id(component: Component) -> str:
    return f"SPDXRef-Package-{_distinct(component.name, component.purl)}"


def _source_id(source: Source) -> str:
    return f"SPDXRef-Source-{_distinct(source.name, source.purl)}"


def _distinct(name: str, purl: str) -> str:
    """SPDX ids know few signs: the name for people, and a hash that tells all apart."""
    readable = re.sub(r"[^A-Za-z0-9.-]", "-", name)
    return f"{readable}-{hashlib.sha256(purl.encode()).hexdigest()[:12]}"


def _sha256(digits: str) -> list[dict[str, str]]:
    return [{"algorithm": "SHA256", "checksumValue": digits}] if digits else []


def _purl(purl: str) -> list[dict[str, str]]:
    where = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl"}
    return [{**where, "referenceLocator": purl}]


def _web_address(address: str) -> str:
    return address if urlsplit(address).scheme in ("http", "https") else ""
