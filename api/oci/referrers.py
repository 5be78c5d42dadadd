"""Referrers: what names a manifest as its subject, as pages of an OCI index."""

import json
from typing import Any

from sqlmodel import Session

from api.oci.errors import OciError, digest_invalid
from api.oci.gateway import Gateway
from api.oci.pages import Page, next_link, page_of
from api.oci.replies import Header, Reply
from api.oci.requests import Request
from fleetwide.registry.names import is_digest
from fleetwide.registry.oci import INDEX_TYPE
from fleetwide.store import registry_manifests, registry_repositories
from fleetwide.store.registry_manifests import ReferrersPage
from fleetwide.store.registry_repositories import id_of
from fleetwide.store.registry_tables import ManifestRow

MAX_BYTES = 3 * 1024**2
"""Of the manifests of one page: clients take no more than a manifest's 4 MiB, and this much is
held in memory."""
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
    wanted = ReferrersPage(page.size, MAX_BYTES, page.after, artifact_type)
    entries, more = await gateway.reading(
        lambda session: _entries(session, request.repository, digest, wanted)
    )
    headers: list[Header] = [FILTERED] if artifact_type else []
    if entries and more:
        path = f"/v2/{request.repository}/referrers/{digest}"
        kind = {"artifactType": artifact_type} if artifact_type else {}
        headers.append(next_link(path, page, entries[-1]["digest"], kind))
    return _reply(entries, headers)


def _entries(
    session: Session, name: str, digest: str, wanted: ReferrersPage
) -> tuple[list[dict[str, Any]], bool]:
    repository = registry_repositories.find(session, name)
    if repository is None:
        return [], False
    rows, more = registry_manifests.referrers(session, id_of(repository), digest, wanted)
    return [_entry(row) for row in rows], more


def _entry(row: ManifestRow) -> dict[str, Any]:
    return {
        "mediaType": row.media_type,
        "digest": row.digest,
        "size": row.size,
        **({"artifactType": row.artifact_type} if row.artifact_type else {}),
        **({"annotations": row.annotations} if row.annotations else {}),
    }


def _reply(entries: list[dict[str, Any]], headers: list[Header]) -> Reply:
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}
    # Not escaped: an entry must not have more bytes than its manifest, by which pages are cut.
    body = json.dumps(index, separators=(",", ":"), ensure_ascii=False).encode()
    return Reply(200, [INDEX, *headers], body)
