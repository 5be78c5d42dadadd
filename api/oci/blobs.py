"""Blobs: whether a repository has them, where to read them, and taking them out of it."""

from contextlib import suppress

from sqlmodel import Session

from api.oci import memberships, places, pull_through
from api.oci.errors import OciError, blob_unknown, digest_invalid
from api.oci.gateway import Gateway, utc_now
from api.oci.replies import Reply
from api.oci.requests import Request
from fleetwide.errors import Conflict
from fleetwide.registry.names import is_digest
from fleetwide.store import registry_blobs, registry_repositories, registry_reviews
from fleetwide.store.registry_gc import LINK


async def read(gateway: Gateway, request: Request) -> Reply:
    """GET and HEAD. Ranges are served by who has the bytes."""
    repository, digest = request.repository, _checked(request.reference)
    if gateway.fetches.origin(repository) is not None:
        size = await pull_through.blob(gateway, repository, digest)
    elif request.method == "HEAD":
        size = await memberships.promised_size(gateway, repository, digest)
    else:
        size = await memberships.size_of(gateway, repository, digest)
    if size is None:
        raise blob_unknown(repository, digest)
    if request.method == "HEAD":
        return Reply(200, [*places.headers(digest), (b"accept-ranges", b"bytes")], size=size)
    return gateway.blobs.reply(repository, digest)


async def delete(gateway: Gateway, request: Request) -> Reply:
    """DELETE: the repository has it no more; garbage collection frees the bytes."""
    repository, digest = request.repository, _checked(request.reference)
    if await memberships.size_of(gateway, repository, digest) is None:
        raise blob_unknown(repository, digest)
    try:
        await gateway.writing(lambda session: _remove(session, repository, digest))
    except Conflict as error:
        # 405 is what the specification has for a registry that does not delete it.
        raise OciError(405, "UNSUPPORTED", error.message) from error
    # Killed before this, the next question would find it at Distribution: as if never deleted.
    await gateway.backend.unlink_blob(repository, digest)
    # Who asked in between found it there still and took it: without a link nobody could read it.
    # Where a manifest refers to it by now, the reconciliation links it again.
    with suppress(Conflict):
        await gateway.writing(lambda session: _remove(session, repository, digest))
    return Reply(202)


def _remove(session: Session, name: str, digest: str) -> None:
    repository = registry_repositories.find(session, name)
    if repository is None:  # it is being deleted, with its links
        return
    now = utc_now()
    if registry_blobs.remove_membership(session, repository, digest, now=now):
        # Garbage collection removes the link of who is killed before it does so itself.
        number = registry_repositories.id_of(repository)
        registry_reviews.enqueue(session, LINK, number, [digest], "deleted", now=now)


def _checked(digest: str) -> str:
    if not is_digest(digest):
        raise digest_invalid(digest)
    return digest
