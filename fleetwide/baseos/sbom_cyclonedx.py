"""A bill of materials as CycloneDX 1.6 JSON (ECMA-424)."""

import json
from typing import Any

from fleetwide.baseos.sbom import TOOL, Component, Inventory, LinkedDocument, SbomSubject
from fleetwide.registry.digests import canonical_json, digest_of, hex_of
from fleetwide.registry.oci import rfc3339

ARTIFACT_TYPE = "application/vnd.cyclonedx+json"


def cyclonedx_document(inventory: Inventory, below: LinkedDocument | None = None) -> bytes:
    """The document about ``inventory``; equal input gives equal bytes.

    ``below`` is the document about the base that the subject lies upon.
    """
    subject = inventory.subject
    system = _operating_system(subject)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "serialNumber": inventory.identity("cyclonedx", below).urn,
        "metadata": {
            "timestamp": rfc3339(subject.source_date_epoch),
            "tools": {"components": [{"type": "application", "name": TOOL}]},
            "component": {**_root(subject), **(_link(below) if below else {})},
        },
        "components": [system, *map(_package, inventory.components)],
        "dependencies": _dependencies(inventory, system["bom-ref"]),
    }
    return canonical_json(document)


def cyclonedx_link(document: bytes) -> LinkedDocument:
    """A link to a document of ours, by CycloneDX's own names for documents (BOM-Link)."""
    content = json.loads(document)
    serial = str(content["serialNumber"]).removeprefix("urn:uuid:")
    return LinkedDocument(f"urn:cdx:{serial}/{content['version']}", hex_of(digest_of(document)))


def _root(subject: SbomSubject) -> dict[str, Any]:
    return {
        "type": "container" if subject.is_image else "file",
        "bom-ref": subject.purl,
        "name": subject.name,
        "version": subject.version,
        "purl": subject.purl,
        "hashes": _sha256(subject.sha256),
    }


def _link(below: LinkedDocument) -> dict[str, Any]:
    reference = {"type": "bom", "url": below.uri, "hashes": _sha256(below.sha256)}
    return {"externalReferences": [reference]}


def _operating_system(subject: SbomSubject) -> dict[str, Any]:
    """Scanners read from it whose advisories hold for the packages."""
    name, number = subject.distribution.value, subject.release_number
    return {
        "type": "operating-system",
        "bom-ref": f"os:{name}-{number}",
        "name": name,
        "version": number,
    }


def _package(component: Component) -> dict[str, Any]:
    known = {
        "type": "application" if component.is_application else "library",
        "bom-ref": component.purl,
        "name": component.name,
        "version": component.version,
        "purl": component.purl,
        "description": component.summary,
        "supplier": _supplier(component),
        "hashes": _sha256(component.sha256),
        "externalReferences": _references(component),
        "pedigree": _pedigree(component),
    }
    return {key: value for key, value in known.items() if value}


def _pedigree(component: Component) -> dict[str, Any]:
    """The source package that it was built from; without a bom-ref, since several share it."""
    source = component.source
    if source is None:
        return {}
    ancestor = {
        "type": "library",
        "name": source.name,
        "version": source.version,
        "purl": source.purl,
    }
    return {"ancestors": [ancestor]}


def _supplier(component: Component) -> dict[str, Any]:
    name, email = component.maintainer, component.maintainer_email
    contact = {"contact": [{"email": email}]} if email else {}
    return {"name": name, **contact} if name else {}


def _references(component: Component) -> list[dict[str, str]]:
    known = {"distribution": component.url, "website": component.homepage}
    return [{"type": kind, "url": url} for kind, url in known.items() if url]


def _sha256(digits: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digits}] if digits else []


def _dependencies(inventory: Inventory, system: str) -> list[dict[str, Any]]:
    everything = [system, *(one.purl for one in inventory.components)]
    return [
        {"ref": inventory.subject.purl, "dependsOn": everything},
        *({"ref": one.purl, "dependsOn": [*one.depends_on]} for one in inventory.components),
    ]
