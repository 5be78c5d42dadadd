"""Which blobs belong to a repository, as far as the index and Distribution know.

Uploads pass the gateway by, so the first question for a blob is answered by Distribution, about
this repository alone, and written down with a lease. A digest that another repository has is
no answer: tenants would read each other's blobs.
"""

from sqlmodel import Session

from api.oci.errors import OciError, name_unknown
from api.oci.gateway import Gateway, utc_now
from fleetwide.errors import PlatformError
from fleetwide.store import registry_blobs, registry_facts, registry_repositories
from fleetwide.store.registry_tables import BlobRow


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
    size = await size_of(gateway, repository, digest)
    if size is None:
        return None
    try:
        loose = await gateway.reading(
            lambda session: registry_facts.is_loose(session, repository, digest, utc_now())
        )
    except OciError as error:
        if error.status != 503:
            raise
        return size  # without the index nothing is collected either
    return await from_distribution(gateway, repository, digest) if loose else size


async def from_distribution(gateway: Gateway, repository: str, digest: str) -> int | None:
    """Bytes of a blob that Distribution has in this repository; it belongs from then on.

    That also revives one that garbage collection is about to remove, or finds it gone.
    """
    known = await gateway.reading(lambda session: _known(session, repository, digest))
    size = await gateway.backend.blob_size(repository, digest)
    if size is None:
        return None
    await gateway.writing(lambda session: _admit(gateway, session, repository, digest, size))
    if known and await gateway.backend.blob_size(repository, digest) is None:
        # Garbage collection removed it, here or at all, after Distribution was asked: from now on
        # it keeps what is there, so what is there now is the truth.
        await gateway.writing(lambda session: _forget(session, repository, digest))
        return None
    return size


async def keep_bytes(gateway: Gateway, digest: str) -> None:
    """Keep bytes that garbage collection may be about to remove: somebody is pushing them again.

    In a transaction of its own, since blobs are locked in the order of their digests.
    """
    if await gateway.reading(lambda session: session.get(BlobRow, digest) is not None):
        await gateway.writing(lambda session: registry_blobs.keep(session, digest, now=utc_now()))


def _known(session: Session, name: str, digest: str) -> bool:
    """Whether the index knows the blob, of whatever repository."""
    if registry_repositories.find(session, name) is None:
        raise name_unknown(name)
    return session.get(BlobRow, digest) is not None


def _admit(gateway: Gateway, session: Session, name: str, digest: str, size: int) -> None:
    now = utc_now()
    repository = registry_repositories.require(session, name)
    registry_blobs.admit(session, repository, digest, size, now=now, lease_until=gateway.lease(now))


def _forget(session: Session, name: str, digest: str) -> None:
    repository = registry_repositories.require(session, name)
    registry_blobs.remove_membership(session, repository, digest, now=utc_now())
