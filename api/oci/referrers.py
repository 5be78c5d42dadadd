"""Referrers: what names a manifest as its subject, as pages of an OCI index."""

from typing import Any

from sqlmodel import Session

from api.oci.errors import OciError, digest_invalid
from api.oci.gateway import Gateway
from api.oci.pages import Page, next_link, page_of
from api.oci.replies import Header, Reply, json_reply
from api.oci.requests import Request
from fleetwide.registry.names import is_digest
from fleetwide.registry.oci import INDEX_TYPE
from fleetwide.store import registry_manifests, registry_repositories
from fleetwide.store.registry_repositories import id_of

MAX_BYTES = 3 * 1024**2
"""Of one page: clients take no more than a manifest's 4 MiB."""
PAGE_ITEMS = 200
INDEX = (b"content-type", INDEX_TYPE.encode())
FILTERED: Header = (b"oci-filters-applied", b"artifactType")


async def read(gateway: Gateway, request: Request) -> Reply:
    """GET: an index, empty where nothing refers to the digest or nobody knows it."""
    digest = request.reference
    if not is_digest(digest):
        raise digest_invalid(digest)
    artifact_type = request.parameter("artifactType") or None
    if artifact_type is not None and "\0" in artifact_type:
        raise OciError(400, "UNSUPPORTED", "artifactType must be a media type")
    page = page_of(request)
    page = Page(min(page.size, PAGE_ITEMS), page.after)
    found = await gateway.reading(
        lambda session: _entries(session, request.repository, digest, artifact_type, page)
    )
    return _reply(request, page, _fitting(found[: page.size]), found, artifact_type)


def _entries(
    session: Session, name: str, digest: str, artifact_type: str | None, page: Page
) -> list[dict[str, Any]]:
    repository = registry_repositories.find(session, name)
    if repository is None:
        return []
    rows = registry_manifests.referrers(
        session,
        id_of(repository),
        digest,
        artifact_type=artifact_type,
        after=page.after,
        limit=page.look,
    )
    return [
        {
            "mediaType": row.media_type,
            "digest": row.digest,
            "size": row.size,
            **({"artifactType": row.artifact_type} if row.artifact_type else {}),
            **({"annotations": row.annotations} if row.annotations else {}),
        }
        for row in rows
    ]


def _fitting(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many as one answer may hold, but one at least."""
    size, kept = 0, list[dict[str, Any]]()
    for entry in entries:
        size += sum(len(key) + len(value) + 8 for key, value in _annotations(entry)) + 400
        if kept and size > MAX_BYTES:
            break
        kept.append(entry)
    return kept


def _annotations(entry: dict[str, Any]) -> list[tuple[str, str]]:
    return list(entry.get("annotations", {}).items())


def _reply(
    request: Request,
    page: Page,
    shown: list[dict[str, Any]],
    found: list[dict[str, Any]],
    artifact_type: str | None,
) -> Reply:
    headers: list[Header] = [FILTERED] if artifact_type else []
    if shown and len(shown) < len(found):
        path = f"/v2/{request.repository}/referrers/{request.reference}"
        more = {"artifactType": artifact_type} if artifact_type else {}
        headers.append(next_link(path, page, shown[-1]["digest"], more))
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": shown}
    answer = json_reply(200, index, headers)
    return Reply(200, [INDEX, *headers], answer.body)
