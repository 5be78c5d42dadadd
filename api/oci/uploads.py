"""Uploads: begun here, carried on at Distribution.

Without nginx the upload's Location is Distribution's own. Its signed state is all that the client
has to show there, and the order of chunks is judged by Distribution. Behind nginx every request
to an upload is asked about first (``check``).
"""

from urllib.parse import urlsplit

from sqlmodel import Session

from api.oci import memberships
from api.oci.errors import OciError, digest_invalid, upload_unknown
from api.oci.gateway import Gateway, utc_now
from api.oci.replies import Header, Reply, header
from api.oci.requests import Request
from fleetwide.errors import InvalidInput
from fleetwide.providers.backend import BackendRefused
from fleetwide.registry import uploads
from fleetwide.registry.names import check_repository, is_digest
from fleetwide.registry.scopes import Access
from fleetwide.store import registry_admission, registry_blobs, registry_repositories


async def start(gateway: Gateway, request: Request) -> Reply:
    """POST: an upload, or a mount, or a whole blob at once (``?digest=``)."""
    gateway.fetches.refuse_push(request.repository)
    algorithm = request.parameter("digest-algorithm")
    if algorithm not in (None, "sha256"):
        raise digest_invalid(f"{algorithm}:")
    digest = request.parameter("mount") or request.parameter("digest")
    if digest is not None and not is_digest(digest):
        raise digest_invalid(digest)
    await gateway.writing(lambda session: _prepare(gateway, session, request))
    if request.parameter("mount") and digest:
        return await _mount(gateway, request, digest)
    place = await gateway.backend.start_upload(request.repository)
    if digest is not None:
        return await _whole(gateway, request, place, digest)
    return _begun(gateway, place)


def _prepare(gateway: Gateway, session: Session, request: Request) -> None:
    registry_admission.check_upload(session, request.repository, gateway.rules().policy)
    registry_repositories.ensure(session, request.repository, by=request.by, now=utc_now())


def _begun(gateway: Gateway, place: str) -> Reply:
    base = "" if gateway.blobs.by_nginx else gateway.blobs.distribution
    upload = urlsplit(place).path.rpartition("/")[2]
    return Reply(
        202,
        [
            header("location", base + place),
            header("docker-upload-uuid", upload),
            (b"range", b"0-0"),
        ],
    )


async def _mount(gateway: Gateway, request: Request, digest: str) -> Reply:
    """Make another repository's blob one of this; decline by an upload where that cannot be."""
    repository, source = request.repository, request.parameter("from")
    if await gateway.blob_size(repository, digest) is not None:
        return _created(repository, digest)
    if source is None or not _may_read(request, source):
        return _begun(gateway, await gateway.backend.start_upload(repository))
    if not await _held(gateway, source, digest):
        return _begun(gateway, await gateway.backend.start_upload(repository))
    place = await gateway.backend.mount(repository, digest, source)
    if place is not None:
        return _begun(gateway, place)
    await memberships.from_distribution(gateway, repository, digest)
    return _created(repository, digest)


def _may_read(request: Request, source: str) -> bool:
    try:
        check_repository(source)
    except InvalidInput:
        return False
    return request.allowed(Access.repository(source, "pull"))


async def _held(gateway: Gateway, source: str, digest: str) -> bool:
    """Whether the source has the blob; then it keeps it until the mount is done."""
    try:
        if await memberships.size_of(gateway, source, digest) is None:
            return False
    except OciError as error:
        if error.status == 404:
            return False
        raise
    return await gateway.writing(lambda session: _hold(gateway, session, source, digest))


def _hold(gateway: Gateway, session: Session, source: str, digest: str) -> bool:
    now = utc_now()
    row = registry_repositories.require(session, source)
    lost = registry_blobs.hold(session, row, [digest], now=now, lease_until=gateway.lease(now))
    return not lost


async def _whole(gateway: Gateway, request: Request, place: str, digest: str) -> Reply:
    await gateway.writing(lambda session: registry_blobs.keep(session, digest, now=utc_now()))
    try:
        await gateway.backend.finish_upload(place, digest, request.chunks())
    except BackendRefused as refused:
        raise OciError(400, "DIGEST_INVALID", "the bytes are not those of the digest") from refused
    if await memberships.from_distribution(gateway, request.repository, digest) is None:
        raise OciError(400, "BLOB_UPLOAD_INVALID", "the blob was not kept; send it again")
    return _created(request.repository, digest)


def _created(repository: str, digest: str) -> Reply:
    return Reply(
        201,
        [
            header("location", f"/v2/{repository}/blobs/{digest}"),
            header("docker-content-digest", digest),
        ],
    )


async def carry_on(gateway: Gateway, request: Request) -> Reply:
    """Any request to an upload that came here although its Location lies elsewhere."""
    if gateway.blobs.by_nginx:
        raise upload_unknown()
    await check(gateway, request, _length(request))
    query = request.scope["query_string"].decode("ascii")
    path = f"/v2/{request.repository}/blobs/uploads/{request.reference}"
    return Reply(307, [header("location", f"{gateway.blobs.distribution}{path}?{query}")])


async def check(gateway: Gateway, request: Request, length: int | None) -> None:
    """Let a request to an upload pass to Distribution.

    ``length`` is its Content-Length; None where it has none.

    Raises:
        OciError: the state is none, the chunk is out of order, or the digest cannot be.
    """
    offset = uploads.offset_of(request.parameter("_state") or "")
    if offset is None:
        raise upload_unknown()
    content_range = request.header(b"content-range")
    sends = request.method in ("PATCH", "PUT")
    if sends and content_range and not uploads.in_order(content_range, length, offset):
        raise _out_of_order(request, offset)
    if request.method == "PUT":
        await _keep(gateway, request.parameter("digest") or "")


async def _keep(gateway: Gateway, digest: str) -> None:
    # Distribution takes a blob that it has already as it is: it must not be on its way out.
    if not is_digest(digest):
        raise digest_invalid(digest)
    await gateway.writing(lambda session: registry_blobs.keep(session, digest, now=utc_now()))


def _out_of_order(request: Request, offset: int) -> OciError:
    path = f"/v2/{request.repository}/blobs/uploads/{request.reference}"
    query = request.scope["query_string"].decode("ascii")
    headers: list[Header] = [
        header("location", f"{path}?{query}"),
        header("range", uploads.received_range(offset)),
    ]
    message = f"the upload has {offset} bytes: the next chunk begins there"
    return OciError(416, "BLOB_UPLOAD_INVALID", message, headers=headers)


def _length(request: Request) -> int | None:
    text = request.header(b"content-length")
    return int(text[:20]) if text.isdecimal() else None
