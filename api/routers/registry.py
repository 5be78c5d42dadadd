"""The registry: what is hosted, and what a reference means now."""

from fastapi import APIRouter

from api.deps import PlatformDep
from fleetwide.errors import NotFound
from fleetwide.models.documents import Page, Repository, ResolvedReference, TagDocument
from fleetwide.registry.references import parse_reference
from fleetwide.registry.referrers import is_referrers_tag

router = APIRouter(prefix="/v1/registry", tags=["registry"])


@router.get("/repositories")
def list_repositories(platform: PlatformDep) -> Page[Repository]:
    """All repositories, by name."""
    names = sorted(platform.registry.list_repositories())
    return Page(items=[Repository(name=name) for name in names])


@router.get("/repositories/{name:path}/tags")
def list_tags(platform: PlatformDep, name: str) -> Page[TagDocument]:
    """The tags of a repository, without those that only list what refers to an image."""
    # Parsed as a reference, so that no path of the registry's own API can be smuggled in.
    repository = parse_reference(f"{name}:x", "name").repository
    found = platform.registry.list_tags(repository)
    tags = [tag for tag in found if not is_referrers_tag(tag)]
    if not tags:
        raise NotFound(f"there is no repository {name}", hint="fleetwide registry list")
    return Page(items=[TagDocument(name=tag, reference=f"{name}:{tag}") for tag in tags])


@router.get("/resolve")
def resolve(platform: PlatformDep, reference: str) -> ResolvedReference:
    """The digest that a tag names at this moment."""
    parsed = parse_reference(reference, "reference")
    digest = platform.registry.resolve(parsed)
    return ResolvedReference(
        reference=reference, digest=digest, pinned=f"{parsed.repository}@{digest}"
    )
