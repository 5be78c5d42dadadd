"""A bill of materials as CycloneDX 1.6 JSON (ECMA-424)."""

from collections.abc import Iterable
from typing import Any

from fleetwide.baseos.sbom import TOOL, Component, Inventory, SbomSubject, take_inventory
from fleetwide.models.baseos import Target
from fleetwide.models.os_locks import LockedPackage
from fleetwide.registry.digests import canonical_json
from fleetwide.registry.oci import rfc3339

ARTIFACT_TYPE = "application/vnd.cyclonedx+json"
_ROOT_TYPES = {Target.CONTAINER: "container", Target.VM: "file"}


def cyclonedx_document(subject: SbomSubject, packages: Iterable[LockedPackage]) -> bytes:
    """The document about ``packages`` in ``subject``; equal input gives equal bytes."""
    inventory = take_inventory(subject, packages)
    system = _operating_system(subject)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "serialNumber": inventory.identity("cyclonedx").urn,
        "metadata": {
            "timestamp": rfc3339(subject.source_date_epoch),
            "tools": {"components": [{"type": "application", "name": TOOL}]},
            "component": _root(subject),
        },
        "components": [system, *map(_package, inventory.components)],
        "dependencies": _dependencies(inventory, system["bom-ref"]),
    }
    return canonical_json(document)


def _root(subject: SbomSubject) -> dict[str, Any]:
    return {
        "type": _ROOT_TYPES[subject.target],
        "bom-ref": subject.purl,
        "name": subject.name,
        "version": subject.version,
        "purl": subject.purl,
        "hashes": _sha256(subject.sha256),
    }


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
    facts = component.facts
    known = {
        "type": "library",
        "bom-ref": component.purl,
        "name": facts.name,
        "version": facts.version,
        "purl": component.purl,
        "description": facts.summary,
        "supplier": _supplier(component),
        "hashes": _sha256(facts.locked.sha256),
        "externalReferences": _references(component),
        "pedigree": {"ancestors": [_source(component)]},
    }
    return {key: value for key, value in known.items() if value}


def _source(component: Component) -> dict[str, str]:
    """The source package that it was built from; without a bom-ref, since several share it."""
    return {
        "type": "library",
        "name": component.facts.source,
        "version": component.facts.source_version,
        "purl": component.source_purl,
    }


def _supplier(component: Component) -> dict[str, Any]:
    name, email = component.facts.maintainer, component.facts.maintainer_email
    contact = {"contact": [{"email": email}]} if email else {}
    return {"name": name, **contact} if name else {}


def _references(component: Component) -> list[dict[str, str]]:
    known = {"distribution": component.facts.locked.url, "website": component.facts.homepage}
    return [{"type": kind, "url": url} for kind, url in known.items() if url]


def _sha256(digits: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digits}]


def _dependencies(inventory: Inventory, system: str) -> list[dict[str, Any]]:
    everything = [system, *(one.purl for one in inventory.components)]
    return [
        {"ref": inventory.subject.purl, "dependsOn": everything},
        *({"ref": one.purl, "dependsOn": [*one.depends_on]} for one in inventory.components),
    ]
