"""The lock of an OS release: every package that goes in, to the byte."""

from pydantic import Field

from fleetwide.models.base import Digest, Record, Sha256, Timestamp
from fleetwide.models.baseos import Architecture, Face

LOCK_FORMAT = 1


def lock_key(digest: str) -> str:
    """Where a lock lies in the object store."""
    return f"baseos/locks/{digest.removeprefix('sha256:')}.json"


def pool_key(sha256: str) -> str:
    """Where a package lies in the object store."""
    return f"baseos/pool/{sha256[:2]}/{sha256}.deb"


class LockedSource(Record):
    """One suite of one archive that the lock was resolved from."""

    url: str
    suite: str
    components: list[str]
    keyring: str
    security: bool = False


class LockedPackage(Record):
    """One package, pinned."""

    name: str
    version: str
    architecture: str
    """``all`` or the release's own."""
    sha256: Sha256
    size: int
    """Bytes of the .deb."""
    url: str
    """Where the mirror had it when the lock was made."""
    stanza: str
    """Its paragraph in the archive's index, unchanged."""
    faces: list[Face]
    security: bool = False
    """It comes from a security suite."""


class Lock(Record):
    """All packages of a release, ordered by name. Equal locks have equal digests."""

    format: int = LOCK_FORMAT
    suite: str
    architecture: Architecture
    sources: list[LockedSource]
    packages: list[LockedPackage]

    def of(self, face: Face) -> list[LockedPackage]:
        return [package for package in self.packages if face in package.faces]


class LockRef(Record):
    """A lock in the object store."""

    digest: Digest
    package_count: int
    size: int
    """Bytes of all packages."""
    security_digest: Digest
    """Digest over the packages from security suites alone."""
    resolved_at: Timestamp
    seconds: float = Field(default=0.0, ge=0)
