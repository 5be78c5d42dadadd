"""Manifests as they are pulled: the path of every start of a container."""

from api.oci import pull_through
from api.oci.errors import digest_invalid, manifest_unknown
from api.oci.gateway import Gateway
from api.oci.replies import Header, Reply, warning
from api.oci.requests import Request
from fleetwide.errors import InvalidInput
from fleetwide.registry.names import check_tag, is_digest
from fleetwide.store.registry_reads import Resolved

STALE = warning("served from memory: the index of the registry does not answer")


async def read(gateway: Gateway, request: Request) -> Reply:
    """GET and HEAD: the bytes as they were pushed, whatever the client accepts."""
    repository, reference = request.repository, request.reference
    name = (repository, _checked(repository, reference))
    found, stale = await gateway.resolve(*name)
    warned, data = (STALE if stale else None), None
    if gateway.fetches.origin(repository) is not None and not stale:
        seen = await pull_through.manifest(gateway, name, found)
        if seen is not None:
            found, data, warned = seen.found, seen.data, seen.warning
    if found is None:
        raise manifest_unknown(repository, reference)
    headers = _headers(found, warned)
    if _matches(request, found.digest):
        _note(gateway, request, found, whole=False)
        return Reply(304, headers)
    if request.method == "HEAD":
        _note(gateway, request, found, whole=False)
        return Reply(200, headers, size=found.size)
    data = data or await gateway.manifest(found)
    if data is None:
        raise manifest_unknown(repository, reference)
    _note(gateway, request, found, whole=True)
    return Reply(200, headers, data)


def _note(gateway: Gateway, request: Request, found: Resolved, *, whole: bool) -> None:
    if found.repository_id:  # else it is still on its way from another registry
        gateway.pulls.note(found.repository_id, found.digest, request.by, whole=whole)


def _checked(repository: str, reference: str) -> str:
    if not is_digest(reference):
        if ":" in reference:
            raise digest_invalid(reference)
        try:
            check_tag(reference)
        except InvalidInput as error:
            raise manifest_unknown(repository, reference) from error
    return reference


def _headers(found: Resolved, warned: Header | None) -> list[Header]:
    digest = found.digest.encode()
    headers = [
        (b"content-type", found.media_type.encode("latin-1")),
        (b"docker-content-digest", digest),
        (b"etag", b'"%b"' % digest),
    ]
    return [*headers, warned] if warned else headers


def _matches(request: Request, digest: str) -> bool:
    known = request.headers.get(b"if-none-match")
    return known is not None and (known.strip() == b"*" or digest.encode() in known)
