"""``tags/list`` and ``_catalog``: pages in the order of bytes, from the index."""

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

from api.oci.errors import name_unknown
from api.oci.gateway import Gateway
from api.oci.pages import Page, next_link, page_of
from api.oci.replies import Reply, json_reply
from api.oci.requests import Request
from fleetwide.store import registry_repositories


async def tags(gateway: Gateway, request: Request) -> Reply:
    """GET tags/list."""
    page, repository = page_of(request), request.repository
    found = await gateway.tags(repository, page.after, page.look)
    if found is None:
        raise name_unknown(repository)
    return _listing(f"/v2/{repository}/tags/list", page, {"name": repository}, "tags", found)


async def catalog(gateway: Gateway, request: Request, names: Sequence[str] | None) -> Reply:
    """GET _catalog: all repositories (None), or only ``names`` and what lies below them.

    Below lies what begins with one that ends in a slash.
    """
    page = page_of(request)
    if names is None:
        found = await gateway.repositories(page.after, page.look)
    else:
        found = await gateway.reading(lambda session: _allowed(session, page, names))
    return _listing("/v2/_catalog", page, {}, "repositories", found)


def _allowed(session: Session, page: Page, names: Sequence[str]) -> list[str]:
    found = registry_repositories.page(session, after=page.after, limit=page.look, prefixes=names)
    return [row.name for row in found]


def _listing(path: str, page: Page, head: dict[str, Any], key: str, found: Sequence[str]) -> Reply:
    shown = list(found[: page.size])
    more = len(found) > page.size > 0
    links = [next_link(path, page, shown[-1])] if more else []
    return json_reply(200, {**head, key: shown}, links)
