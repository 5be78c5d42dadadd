"""Whether a mirror's namespace has room for what is fetched from an upstream."""

from collections.abc import Mapping

from sqlmodel import Session, col, select

from fleetwide.errors import Denied
from fleetwide.models.registry_policy import RegistryPolicy
from fleetwide.registry.quotas import Quota, namespace_of
from fleetwide.store.registry_admission import namespace_bytes, quota_of
from fleetwide.store.registry_tables import RepositoryBlobRow, RepositoryRow

BATCH = 500
"""Values in one statement; the databases limit them."""


def check_fill(
    session: Session, repository: str, blobs: Mapping[str, int], policy: RegistryPolicy
) -> None:
    """Let blobs (bytes by digest) be fetched, unless they take the namespace beyond its quota.

    Those that the repository has already add nothing. Asked before the fetch; of fetches side by
    side each counts only what has arrived.

    Raises:
        Denied: with the bytes used, asked and allowed.
    """
    namespace = namespace_of(repository)
    limit = quota_of(session, namespace, policy)
    if limit is None:
        return
    held = _held(session, repository, list(blobs))
    asked = sum(size for digest, size in blobs.items() if digest not in held)
    quota = Quota(namespace, namespace_bytes(session, namespace), asked, limit)
    if quota.exceeded:
        raise Denied(quota.sentence(), hint=f"fleetwide registry usage {namespace}")


def _held(session: Session, repository: str, digests: list[str]) -> set[str]:
    """Those of the blobs that the repository has."""
    found: set[str] = set()
    for at in range(0, len(digests), BATCH):
        query = (
            select(RepositoryBlobRow.digest)
            .join(RepositoryRow, col(RepositoryRow.id) == col(RepositoryBlobRow.repository_id))
            .where(
                RepositoryRow.name == repository,
                col(RepositoryBlobRow.digest).in_(digests[at : at + BATCH]),
            )
        )
        found.update(session.exec(query))
    return found
