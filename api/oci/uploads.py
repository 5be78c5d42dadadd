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
from fleetwide.registry import uploads
from fleetwide.registry.digests import digest_of
from fleetwide.registry.names import check_repository, is_digest
from fleetwide.registry.scopes import Access
from fleetwide.store import registry_admission, registry_blobs, registry_repositories

MAX_WHOLE = 999_999
"""Bytes of a blob that is taken along with POST; nginx reads a body of six digits by itself."""


async def start(gateway: Gateway, request: Request) -> Reply:
    """POST: an upload, or a mount, or a whole blob at once (``?digest=``)."""
    gateway.fetches.refuse_push(request.repository)
    algorithm = request.parameter("digest-algorithm")
    if algorithm not in (None, "sha256"):
        raise digest_invalid(f"{algorithm}:")
    digest = request.parameter("mount") or request.parameter("digest")
    if digest is not None and not is_digest(digest):
        raise digest_invalid(digest)
    if not await gateway.takes_uploads(request.repository):
        await gateway.writing(lambda session: _prepare(gateway, session, request))
    if request.parameter("mount") and digest:
        return await _mount(gateway, request, digest)
    length = _length(request)
    if digest is not None and length is not None and 0 < length <= MAX_WHOLE:
        return await _whole(gateway, request, digest)
    # A body that comes along all the same is not read: the client sends it again to the upload.
    return _begun(gateway, await gateway.backend.start_upload(request.repository))


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
    if await _here(gateway, repository, digest):
        return _created(repository, digest)
    size = None
    if source is not None and _may_read(request, source):
        size = await _held(gateway, source, digest)
    if source is None or size is None:
        return _begun(gateway, await gateway.backend.start_upload(repository))
    place = await gateway.backend.mount(repository, digest, source)
    if place is not None:
        return _begun(gateway, place)
    # Known, since the source has it.
    if not await memberships.admit(gateway, repository, digest, size, known=True):
        return _begun(gateway, await gateway.backend.start_upload(repository))
    return _created(repository, digest)


def _may_read(request: Request, source: str) -> bool:
    try:
        check_repository(source)
    except InvalidInput:
        return False
    return request.allowed(Access.repository(source, "pull"))


async def _held(gateway: Gateway, source: str, digest: str) -> int | None:
    """Bytes of the blob where the source has it; then it keeps it until the mount is done."""
    try:
        size = await memberships.size_of(gateway, source, digest)
    except OciError as error:
        if error.status == 404:
            return None
        raise
    if size is None:
        return None
    held = await gateway.writing(lambda session: _hold(gateway, session, source, digest))
    return size if held else None


def _hold(gateway: Gateway, session: Session, source: str, digest: str) -> bool:
    now = utc_now()
    row = registry_repositories.require(session, source)
    lost = registry_blobs.hold(session, row, [digest], now=now, lease_until=gateway.lease(now))
    return not lost


async def _whole(gateway: Gateway, request: Request, digest: str) -> Reply:
    # Read before anything else is taken: a slow client holds no connection to Distribution.
    data = await request.body(MAX_WHOLE, "a blob that comes with POST")
    if digest_of(data) != digest:
        raise OciError(400, "DIGEST_INVALID", "the bytes are not those of the digest")
    if not await _here(gateway, request.repository, digest):
        await memberships.store(gateway, request.repository, digest, data)
    return _created(request.repository, digest)


async def _here(gateway: Gateway, repository: str, digest: str) -> bool:
    """Whether the repository has the blob already; then it keeps it."""
    standing = await gateway.standing(repository, digest)
    if standing is None or standing.size is None:
        return False
    if not standing.loose:
        return True
    return await gateway.writing(lambda session: _hold(gateway, session, repository, digest))


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
        digest = request.parameter("digest") or ""
        if not is_digest(digest):
            raise digest_invalid(digest)
        # Distribution takes a blob that it has already as it is: it must not be on its way out.
        await memberships.keep_bytes(gateway, request.repository, digest)


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
