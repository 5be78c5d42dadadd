"""Which blobs belong to a repository, as far as the index and Distribution know.

Uploads pass the gateway by, so the first question for a blob is answered by Distribution, about
this repository alone, and written down with a lease. A digest that another repository has is
no answer: tenants would read each other's blobs.
"""

from sqlmodel import Session

from api.oci.errors import OciError, name_unknown
from api.oci.gateway import Gateway, utc_now
from fleetwide.errors import PlatformError
from fleetwide.store import registry_blobs, registry_repositories


async def size_of(gateway: Gateway, repository: str, digest: str) -> int | None:
    """Bytes of a blob of this repository; None when it has none. What is asked for, stays.

    Raises:
        OciError: there is no such repository, or neither side answers.
    """
    try:
        size = await gateway.blob_size(repository, digest)
    except PlatformError:
        # Distribution keeps a list of its own; a pull can go on without the index.
        return await gateway.backend.blob_size(repository, digest)
    if size is not None:
        return size
    return await from_distribution(gateway, repository, digest)


async def promised_size(gateway: Gateway, repository: str, digest: str) -> int | None:
    """``size_of`` for who then uploads nothing, since it is here: so it stays for a while.

    Only what no manifest refers to and no lease holds has to be held anew, which is rare.
    """
    try:
        standing = await gateway.standing(repository, digest)
    except PlatformError:
        # Without the index nothing is collected either.
        return await gateway.backend.blob_size(repository, digest)
    if standing is not None and standing.size is not None and not standing.loose:
        return standing.size
    return await from_distribution(gateway, repository, digest)


async def from_distribution(gateway: Gateway, repository: str, digest: str) -> int | None:
    """Bytes of a blob that Distribution has in this repository; it belongs from then on.

    That also revives one that garbage collection is about to remove, or finds it gone.
    """
    known = await _known(gateway, repository, digest)
    size = await gateway.backend.blob_size(repository, digest)
    if size is None:
        return None
    kept = await admit(gateway, repository, digest, size, known=known)
    return size if kept else None


async def store(gateway: Gateway, repository: str, digest: str, data: bytes) -> None:
    """Bring a blob, whose digest was checked, to Distribution; it belongs from then on.

    Raises:
        OciError: there is no such repository, the index does not answer, or garbage collection
            took the blob away meanwhile.
        RegistryUnavailable, BackendRefused: Distribution has not taken it.
    """
    known = await keep_bytes(gateway, repository, digest)
    place = await gateway.backend.start_upload(repository)
    await gateway.backend.finish_upload(place, digest, data)
    if not await admit(gateway, repository, digest, len(data), known=known):
        raise OciError(400, "BLOB_UPLOAD_INVALID", "the blob was not kept; send it again")


async def keep_bytes(gateway: Gateway, repository: str, digest: str) -> bool:
    """Keep bytes that garbage collection may be about to remove: somebody is pushing them again.

    Whether the index knows them: only what it knows is ever removed.

    Raises:
        OciError: there is no such repository.
    """
    known = await _known(gateway, repository, digest)
    if known:
        await gateway.writing(lambda session: registry_blobs.keep(session, digest, now=utc_now()))
    return known


async def _known(gateway: Gateway, repository: str, digest: str) -> bool:
    """Whether the index knows the blob, of whatever repository."""
    standing = await gateway.standing(repository, digest)
    if standing is None:
        raise name_unknown(repository)
    return standing.known


async def admit(gateway: Gateway, repository: str, digest: str, size: int, *, known: bool) -> bool:
    """Let a blob that Distribution has belong to the repository; False when it was lost meanwhile.

    ``known``: the index had the blob before Distribution did or said anything.
    """
    await gateway.writing(lambda session: _record(gateway, session, repository, digest, size))
    if known and await gateway.backend.blob_size(repository, digest) is None:
        # Garbage collection removed it, here or at all, after Distribution had it: from now on it
        # keeps what is there, so what is there now is the truth.
        await gateway.writing(lambda session: _forget(session, repository, digest))
        return False
    return True


def _record(gateway: Gateway, session: Session, name: str, digest: str, size: int) -> None:
    now = utc_now()
    repository = registry_repositories.take(session, name)
    registry_blobs.admit(session, repository, digest, size, now=now, lease_until=gateway.lease(now))


def _forget(session: Session, name: str, digest: str) -> None:
    repository = registry_repositories.require(session, name)
    registry_blobs.remove_membership(session, repository, digest, now=utc_now())
