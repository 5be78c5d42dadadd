"""A bill of materials as SPDX 2.3 JSON (ISO/IEC 5962)."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from fleetwide.baseos.sbom import TOOL, Component, Inventory, SbomSubject, take_inventory
from fleetwide.models.baseos import Target
from fleetwide.models.os_locks import LockedPackage
from fleetwide.registry.digests import canonical_json
from fleetwide.registry.oci import rfc3339

ARTIFACT_TYPE = "application/spdx+json"
DOCUMENT_ID = "SPDXRef-DOCUMENT"
IMAGE_ID = "SPDXRef-Image"
SYSTEM_ID = "SPDXRef-OperatingSystem"
UNKNOWN = "NOASSERTION"
_PURPOSES = {Target.CONTAINER: "CONTAINER", Target.VM: "FILE"}
# Debian's field does not tell a person from a team; the words that teams use do.
_TEAM = re.compile(r"team|maintainers|developers|group|project|packag|lists?\.", re.IGNORECASE)


def spdx_document(subject: SbomSubject, packages: Iterable[LockedPackage]) -> bytes:
    """The document about ``packages`` in ``subject``; equal input gives equal bytes."""
    inventory = take_inventory(subject, packages)
    sources = {one.source_purl: _source(one) for one in inventory.components}
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT_ID,
        "name": f"{subject.name}-{subject.version}-{subject.target}",
        "documentNamespace": inventory.identity("spdx").urn,
        "creationInfo": {
            "created": rfc3339(subject.source_date_epoch),
            "creators": [f"Tool: {TOOL}"],
        },
        "packages": [
            _image(subject),
            _operating_system(subject),
            *map(_package, inventory.components),
            *(sources[purl] for purl in sorted(sources)),
        ],
        "relationships": [_relationship(*one) for one in _relations(inventory)],
    }
    return canonical_json(document)


def _element(spdx_id: str, name: str, version: str, **more: Any) -> dict[str, Any]:
    """A package of the document; what is not known is left out."""
    return {
        "SPDXID": spdx_id,
        "name": name,
        "versionInfo": version,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": False,
        **{key: value for key, value in more.items() if value},
    }


def _image(subject: SbomSubject) -> dict[str, Any]:
    return _element(
        IMAGE_ID,
        subject.name,
        subject.version,
        primaryPackagePurpose=_PURPOSES[subject.target],
        checksums=_sha256(subject.sha256),
        externalRefs=_purl(subject.purl),
    )


def _operating_system(subject: SbomSubject) -> dict[str, Any]:
    """Scanners read from it whose advisories hold for the packages."""
    return _element(
        SYSTEM_ID,
        subject.distribution.value,
        subject.release_number,
        primaryPackagePurpose="OPERATING_SYSTEM",
    )


def _package(component: Component) -> dict[str, Any]:
    facts = component.facts
    return _element(
        _package_id(component),
        facts.name,
        facts.version,
        downloadLocation=_web_address(facts.locked.url),
        supplier=_supplier(component),
        checksums=_sha256(facts.locked.sha256),
        homepage=_web_address(facts.homepage),
        summary=facts.summary,
        externalRefs=_purl(component.purl),
    )


def _source(component: Component) -> dict[str, Any]:
    return _element(
        _source_id(component),
        component.facts.source,
        component.facts.source_version,
        primaryPackagePurpose="SOURCE",
        externalRefs=_purl(component.source_purl),
    )


def _supplier(component: Component) -> str:
    name, email = component.facts.maintainer, component.facts.maintainer_email
    if not name:
        return UNKNOWN
    kind = "Organization" if _TEAM.search(f"{name} {email}") else "Person"
    return f"{kind}: {name} ({email})" if email else f"{kind}: {name}"


def _relations(inventory: Inventory) -> Iterator[tuple[str, str, str]]:
    ids = {component.purl: _package_id(component) for component in inventory.components}
    yield DOCUMENT_ID, "DESCRIBES", IMAGE_ID
    yield IMAGE_ID, "CONTAINS", SYSTEM_ID
    for one in inventory.components:
        start = ids[one.purl]
        yield IMAGE_ID, "CONTAINS", start
        yield start, "GENERATED_FROM", _source_id(one)
        for end in one.depends_on:
            yield start, "DEPENDS_ON", ids[end]


def _relationship(start: str, kind: str, end: str) -> dict[str, str]:
    return {"spdxElementId": start, "relationshipType": kind, "relatedSpdxElement": end}


def _package_id(component: Component) -> str:
    return f"SPDXRef-Package-{_distinct(component.facts.name, component.purl)}"


def _source_id(component: Component) -> str:
    return f"SPDXRef-Source-{_distinct(component.facts.source, component.source_purl)}"


def _distinct(name: str, purl: str) -> str:
    """SPDX ids know few signs: the name for people, and a hash that tells all apart."""
    readable = re.sub(r"[^A-Za-z0-9.-]", "-", name)
    return f"{readable}-{hashlib.sha256(purl.encode()).hexdigest()[:12]}"


def _sha256(digits: str) -> list[dict[str, str]]:
    return [{"algorithm": "SHA256", "checksumValue": digits}]


def _purl(purl: str) -> list[dict[str, str]]:
    where = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl"}
    return [{**where, "referenceLocator": purl}]


def _web_address(address: str) -> str:
    return address if urlsplit(address).scheme in ("http", "https") else ""
