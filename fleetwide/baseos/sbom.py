"""What a bill of materials says, in any format: its subject, the packages, their relations."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid5

from packageurl import PackageURL

from fleetwide.baseos.stanzas import dependency_edges, facts_of
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
    """The image, or the layer of one, that the packages lie in."""

    target: Target
    name: str
    version: str
    digest: Digest
    """Of the container's manifest, of the layer, or of the raw disk."""
    repository: str = ""
    """Where the container lies in the registry; empty for a layer or a disk."""
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
    def is_image(self) -> bool:
        """Whether it is a whole container image, rather than a file."""
        return bool(self.repository)

    @property
    def purl(self) -> str:
        """Its package URL: an OCI artifact, or a generic file."""
        if self.is_image:
            name = self.repository.rpartition("/")[2]
            where = {"arch": self.architecture.value, "repository_url": self.repository}
            return package_url("oci", None, name, self.digest, where)
        known = {"arch": self.architecture.value, "checksum": self.digest}
        return package_url("generic", None, self.name, self.version, known)


@dataclass(frozen=True)
class Source:
    """The source package that a distribution package was built from."""

    name: str
    version: str
    purl: str


@dataclass(frozen=True)
class Component:
    """One package, or one application; what is not known is empty."""

    name: str
    version: str
    purl: str
    sha256: str = ""
    """Of the file that it came in."""
    url: str = ""
    homepage: str = ""
    summary: str = ""
    maintainer: str = ""
    maintainer_email: str = ""
    source: Source | None = None
    depends_on: tuple[str, ...] = ()
    """Package URLs of the packages that satisfy its dependencies."""
    is_application: bool = False


@dataclass(frozen=True)
class LinkedDocument:
    """Another bill of materials in the same format, told by its own name and its bytes."""

    uri: str
    sha256: str


@dataclass(frozen=True)
class Inventory:
    """A subject with its packages, ordered by name."""

    subject: SbomSubject
    components: tuple[Component, ...]
    is_delta: bool = False
    """The subject lies upon a base, which these are not the packages of."""

    def identity(self, document_format: str, below: LinkedDocument | None) -> UUID:
        """An id for a document about it: the same for the same content, never shared by two.

        ``below`` is the document about the base that it links to.
        """
        content = hashlib.sha256(self.subject.model_dump_json().encode())
        for component in self.components:
            content.update(f"{component.purl} {component.sha256}\n".encode())
        if below is not None:
            content.update(f"{below.uri} {below.sha256}\n".encode())
        return uuid5(NAMESPACE_URL, f"urn:{TOOL}:{document_format}:{content.hexdigest()}")


def take_inventory(subject: SbomSubject, packages: Iterable[LockedPackage]) -> Inventory:
    """The packages of one face of a lock, as a bill of materials lists them."""
    facts = sorted(map(facts_of, packages), key=lambda one: (one.name, one.version))
    edges = dependency_edges(facts)
    purls = {one.name: deb_url(subject, one.name, one.version, one.architecture) for one in facts}
    return Inventory(
        subject,
        tuple(
            Component(
                name=one.name,
                version=one.version,
                purl=purls[one.name],
                sha256=one.locked.sha256,
                url=one.locked.url,
                homepage=one.homepage,
                summary=one.summary,
                maintainer=one.maintainer,
                maintainer_email=one.maintainer_email,
                source=Source(
                    one.source,
                    one.source_version,
                    deb_url(subject, one.source, one.source_version, "source"),
                ),
                depends_on=tuple(purls[name] for name in edges[one.name]),
            )
            for one in facts
        ),
    )


def deb_url(subject: SbomSubject, name: str, version: str, architecture: str) -> str:
    """The package URL of a package of the subject's distribution."""
    distro = f"{subject.distribution}-{subject.release_number}"
    known = {"arch": architecture, "distro": distro}
    return package_url("deb", subject.distribution.value, name, version, known)


def package_url(
    kind: str, namespace: str | None, name: str, version: str, qualifiers: dict[str, str]
) -> str:
    """A package URL; what is empty is left out."""
    given = {key: value for key, value in qualifiers.items() if value}
    return PackageURL(kind, namespace, name, version, given).to_string()
