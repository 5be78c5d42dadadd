"""What a bill of materials says, whatever its format: the image, its packages, their relations."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid5

from packageurl import PackageURL

from fleetwide.baseos.stanzas import PackageFacts, dependency_edges, facts_of
from fleetwide.models.base import Digest, Record
from fleetwide.models.baseos import Architecture, Distribution, Target
from fleetwide.models.os_locks import LockedPackage
from fleetwide.registry.digests import hex_of

TOOL = "fleetwide"
# Scanners know distributions by number; one that is not here goes by the name of its suite.
RELEASE_NUMBERS: dict[str, str] = {
    "stretch": "9",
    "buster": "10",
    "bullseye": "11",
    "bookworm": "12",
    "trixie": "13",
    "trusty": "14.04",
    "xenial": "16.04",
    "bionic": "18.04",
    "focal": "20.04",
    "jammy": "22.04",
    "noble": "24.04",
    "resolute": "26.04",
}


class SbomSubject(Record):
    """The image that the packages lie in."""

    target: Target
    name: str
    version: str
    digest: Digest
    """Of the container's manifest, or of the raw disk."""
    repository: str = ""
    """Where the container lies in the registry; empty for a disk."""
    distribution: Distribution
    suite: str
    architecture: Architecture
    source_date_epoch: int
    """Seconds since 1970: the only time that a document tells."""

    @property
    def release_number(self) -> str:
        return RELEASE_NUMBERS.get(self.suite, self.suite)

    @property
    def sha256(self) -> str:
        return hex_of(self.digest)

    @property
    def purl(self) -> str:
        """The image's package URL: an OCI artifact, or a generic file."""
        if self.target is Target.CONTAINER:
            name = self.repository.rpartition("/")[2] or self.name
            where = {"arch": self.architecture.value, "repository_url": self.repository}
            return _purl("oci", None, name, self.digest, where)
        known = {"arch": self.architecture.value, "checksum": self.digest}
        return _purl("generic", None, self.name, self.version, known)


@dataclass(frozen=True)
class Component:
    """One package of the image."""

    facts: PackageFacts
    purl: str
    source_purl: str
    depends_on: tuple[str, ...]
    """Package URLs of the packages that satisfy its dependencies."""


@dataclass(frozen=True)
class Inventory:
    """An image with all its packages, ordered by name."""

    subject: SbomSubject
    components: tuple[Component, ...]

    def identity(self, document_format: str) -> UUID:
        """An id for a document about it: the same for the same content, never shared by two."""
        content = hashlib.sha256(self.subject.model_dump_json().encode())
        for component in self.components:
            content.update(f"{component.purl} {component.facts.locked.sha256}\n".encode())
        return uuid5(NAMESPACE_URL, f"urn:{TOOL}:{document_format}:{content.hexdigest()}")


def take_inventory(subject: SbomSubject, packages: Iterable[LockedPackage]) -> Inventory:
    """The packages of one face of a lock, as a bill of materials lists them."""
    facts = sorted(map(facts_of, packages), key=lambda one: (one.name, one.version))
    edges = dependency_edges(facts)
    purls = {one.name: _deb(subject, one.name, one.version, one.architecture) for one in facts}
    return Inventory(
        subject,
        tuple(
            Component(
                facts=one,
                purl=purls[one.name],
                source_purl=_deb(subject, one.source, one.source_version, "source"),
                depends_on=tuple(purls[name] for name in edges[one.name]),
            )
            for one in facts
        ),
    )


def _deb(subject: SbomSubject, name: str, version: str, architecture: str) -> str:
    distro = f"{subject.distribution}-{subject.release_number}"
    known = {"arch": architecture, "distro": distro}
    return _purl("deb", subject.distribution.value, name, version, known)


def _purl(
    kind: str, namespace: str | None, name: str, version: str, qualifiers: dict[str, str]
) -> str:
    given = {key: value for key, value in qualifiers.items() if value}
    return PackageURL(kind, namespace, name, version, given).to_string()
