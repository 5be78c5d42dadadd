"""What the registry's hot path asks of the database: one statement a request, by the raw driver.

``{p}`` stands for the driver's placeholder.
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
