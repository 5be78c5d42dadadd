"""What the registry's hot path asks of the database: one statement a request, by the raw driver.

``{p}`` stands for the driver's placeholder, ``{now}`` for the database's own clock.
"""

from dataclasses import dataclass

from fleetwide.errors import ServiceUnavailable


class IndexUnavailable(ServiceUnavailable):
    """The database of the registry's index does not answer."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a tag or digest of a repository stands for; ``size`` is the manifest's own bytes."""

    repository_id: int
    digest: str
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a repository that there is stands to a blob."""

    known: bool
    """The index has the blob, of whatever repository and in whatever state."""
    size: int | None
    """Bytes of a live blob of this repository; None for any other."""
    loose: bool
    """It belongs to the repository, but nothing keeps it from being collected."""

    @classmethod
    def of_row(cls, known: int, live: int, size: int, loose: int) -> "Standing":
        return cls(bool(known), size if live else None, bool(loose))


@dataclass(frozen=True, slots=True)
class Home:
    """Where a push goes: a repository that there is, and what its namespace was given."""

    live: bool
    """False while it is being deleted."""
    has_quota: bool
    """Somebody set the namespace's quota: then the policy's does not count."""
    quota: int | None
    """Bytes; None for no limit."""

    @classmethod
    def of_row(cls, live: int, has_quota: int, quota: int) -> "Home":
        return cls(bool(live), bool(has_quota), quota if quota >= 0 else None)


_REPOSITORY = "FROM registry_repository r"
_LIVE = "WHERE r.name = {p} AND r.deleting_since IS NULL"
_MANIFEST = "SELECT m.repository_id, m.digest, m.media_type, m.size"

BY_DIGEST = (
    f"{_MANIFEST} {_REPOSITORY} JOIN registry_manifest m"
    f" ON m.repository_id = r.id AND m.digest = {{p}} {_LIVE}"
)
BY_TAG = (
    f"{_MANIFEST} {_REPOSITORY} JOIN registry_tag t"
    " ON t.repository_id = r.id AND t.name = {p} AND t.ended_at IS NULL"
    " JOIN registry_manifest m ON m.repository_id = r.id AND m.digest = t.digest"
    f" {_LIVE}"
)
DATA = "SELECT data FROM registry_manifest WHERE repository_id = {p} AND digest = {p}"
REPOSITORY = f"SELECT r.id {_REPOSITORY} {_LIVE}"
TAGS = (
    "SELECT name FROM registry_tag WHERE repository_id = {p} AND ended_at IS NULL AND name > {p}"
    " ORDER BY name LIMIT {p}"
)
REPOSITORIES = (
    f"SELECT r.name {_REPOSITORY} WHERE r.name > {{p}} AND r.deleting_since IS NULL"
    " ORDER BY r.name LIMIT {p}"
)
BLOB = (
    f"SELECT b.size {_REPOSITORY} JOIN registry_repository_blob m"
    " ON m.repository_id = r.id AND m.digest = {p}"
    f" JOIN registry_blob b ON b.digest = m.digest AND b.state = 'live' {_LIVE}"
)
_STANDS = (
    "SELECT CASE WHEN b.digest IS NULL THEN 0 ELSE 1 END,"
    " CASE WHEN m.digest IS NOT NULL AND b.state = 'live' THEN 1 ELSE 0 END,"
    " COALESCE(b.size, 0),"
    " CASE WHEN m.lease_until <= {now} AND NOT EXISTS (SELECT 1 FROM registry_manifest_blob u"
    " WHERE u.repository_id = r.id AND u.blob = b.digest) THEN 1 ELSE 0 END"
)
STANDING = (
    f"{_STANDS} {_REPOSITORY} LEFT JOIN registry_blob b ON b.digest = {{p}}"
    " LEFT JOIN registry_repository_blob m ON m.repository_id = r.id AND m.digest = b.digest"
    f" {_LIVE}"
)
HOME = (
    "SELECT CASE WHEN r.deleting_since IS NULL THEN 1 ELSE 0 END,"
    " CASE WHEN n.name IS NULL THEN 0 ELSE 1 END, COALESCE(n.quota, -1)"
    f" {_REPOSITORY} LEFT JOIN registry_namespace n ON n.name = {{p}} WHERE r.name = {{p}}"
)
