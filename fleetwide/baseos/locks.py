"""Locks: from what apt found to a lock, what it is called by, and whether a build kept to it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleetwide.baseos.stanzas import parse_stanza
from fleetwide.errors import PlatformError
from fleetwide.models.baseos import BuildPlan, Face, OSImageSpec
from fleetwide.models.os_locks import LOCK_FORMAT, Lock, LockedPackage, LockedSource
from fleetwide.registry.digests import canonical_json, digest_of

# Raised when the same spec and lock are meant to give other bytes than before.
BUILD_FORMAT = 1

# Fields of a spec that say nothing about the bytes.
NOT_IN_THE_BYTES = frozenset(
    {"version", "owner", "force", "promotion", "retention", "rebuild_on", "ami"}
)
_INST = re.compile(
    r"^Inst (?P<name>[^ :]+)\S* \((?P<version>\S+) (?P<origins>.*?) \[(?P<arch>\w+)\]\)"
)


@dataclass(frozen=True)
class Chosen:
    """One package of apt's solution."""

    name: str
    version: str
    architecture: str
    security: bool

    @property
    def selector(self) -> str:
        """What apt-cache calls it by."""
        return f"{self.name}={self.version}"


def parse_solution(output: str) -> list[Chosen]:
    """The packages that a simulated ``apt-get install`` would install."""
    found = []
    for line in output.splitlines():
        match = _INST.match(line)
        if match:
            security = "security" in match["origins"].lower()
            found.append(Chosen(match["name"], match["version"], match["arch"], security))
    return found


def parse_uris(output: str) -> dict[str, str]:
    """SHA-256 to URL from ``apt-get download --print-uris``."""
    pattern = re.compile(
        r"^'(?P<url>[^']+)' \S+ \d+ SHA256:(?P<sha256>[0-9a-f]{64})$", re.MULTILINE
    )
    return {match["sha256"]: match["url"] for match in pattern.finditer(output)}


def make_lock(
    spec: OSImageSpec,
    sources: list[LockedSource],
    solutions: Mapping[Face, list[Chosen]],
    stanzas: Iterable[str],
    urls: Mapping[str, str],
) -> Lock:
    """Join what apt told. Every chosen package must have its paragraph and its URL.

    Raises:
        PlatformError: one of them has not: the index changed between two questions.
    """
    index = {_identity(entry := parse_stanza(text)): (text, entry) for text in stanzas}
    faces: dict[Chosen, list[Face]] = {}
    for face, chosen in solutions.items():
        for one in chosen:
            faces.setdefault(one, []).append(face)
    packages = []
    for one in sorted(faces, key=lambda item: (item.name, item.version)):
        text, entry = index.get((one.name, one.version), ("", {}))
        url = urls.get(entry.get("sha256", ""))
        if url is None:
            raise PlatformError(f"the package index changed while it was read: {one.selector}")
        packages.append(
            LockedPackage(
                name=one.name,
                version=one.version,
                architecture=one.architecture,
                sha256=entry["sha256"],
                size=int(entry["size"]),
                url=url,
                stanza=text,
                faces=faces[one],
                security=one.security,
            )
        )
    return Lock(
        suite=spec.suite, architecture=spec.architecture, sources=sources, packages=packages
    )


def _identity(entry: Mapping[str, str]) -> tuple[str, str]:
    return entry["package"], entry["version"]


def lock_digest(lock: Lock) -> str:
    """What a lock is called by: equal when the same packages go into the same faces.

    Where a package was found is not part of it: a fix moves from the security archive to the main
    one without a change.
    """
    return _digest(lock, lock.packages)


def security_digest(lock: Lock) -> str:
    """The same over the packages of security suites, to tell whether any of them changed."""
    return _digest(lock, [package for package in lock.packages if package.security])


def _digest(lock: Lock, packages: list[LockedPackage]) -> str:
    rows = [[one.name, one.version, one.architecture, one.sha256, one.faces] for one in packages]
    return digest_of(canonical_json([LOCK_FORMAT, lock.suite, lock.architecture, rows]))


def build_key(plan: BuildPlan, lock_digest: str, sources: list[LockedSource]) -> str:
    """Digest over all that decides about a release's bytes, except what it is called."""
    content = plan.spec.model_dump(mode="json", exclude=set(NOT_IN_THE_BYTES))
    places = [source.model_dump(mode="json") for source in sources]
    return digest_of(canonical_json([BUILD_FORMAT, content, lock_digest, places]))


def same_wishes(one: OSImageSpec, other: OSImageSpec) -> bool:
    """The two specs give the same bytes where they are given the same packages."""
    excluded = set(NOT_IN_THE_BYTES)
    return one.model_dump(exclude=excluded) == other.model_dump(exclude=excluded)


def pool_path(package: LockedPackage) -> str:
    """Where a package lies in the private mirror of a build."""
    return f"pool/{package.sha256}.deb"


def packages_index(packages: Iterable[LockedPackage]) -> bytes:
    """The index of a private mirror: the original paragraphs, with the archive's own priorities."""
    texts = [
        re.sub(r"(?m)^Filename: .*$", f"Filename: {pool_path(package)}", package.stanza)
        for package in packages
    ]
    return "".join(f"{text}\n\n" for text in texts).encode()


def release_file(lock: Lock, index: bytes) -> bytes:
    """The Release file of a private mirror.

    mmdebstrap finds the essential packages by the names of suite and codename: without them it
    makes an empty tree and calls that a success.
    """
    name = f"main/binary-{lock.architecture}/Packages"
    digest = digest_of(index).removeprefix("sha256:")
    return (
        f"Suite: {lock.suite}\nCodename: {lock.suite}\nArchitectures: {lock.architecture}\n"
        f"Components: main\nDate: Thu, 01 Jan 1970 00:00:00 UTC\n"
        f"SHA256:\n {digest} {len(index)} {name}\n"
    ).encode()
