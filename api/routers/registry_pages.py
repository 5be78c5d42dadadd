"""The registry as pages for a browser; they show what the routes under `/v1/registry` answer."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api import pages
from api.deps import PlatformDep
from api.pages import Html, code, link
from api.rights import SIGNED_IN, VisitorDep
from api.routers import registry
from api.routers.registry import After
from fleetwide.models.registry_access import Action
from fleetwide.models.registry_documents import (
    ManifestDocument,
    Repository,
    TagDocument,
    UsageBy,
    UsageReport,
)
from fleetwide.registry.quotas import plain_size

router = APIRouter(prefix="/registry", include_in_schema=False, dependencies=SIGNED_IN)

PER_PAGE = 100
HISTORY = 50
SHOWN_DIGEST = 19
"""Characters of a digest that tell images apart."""

Name = Annotated[str, Query(max_length=255)]
Reference = Annotated[str, Query(max_length=128)]


@router.get("")
def repositories_page(
    platform: PlatformDep, visitor: VisitorDep, q: Name = "", cursor: After = ""
) -> Response:
    """All repositories, or those that have a text in their names."""
    if q:
        found = registry.search(platform, visitor, q, cursor, PER_PAGE)
    else:
        found = registry.list_repositories(platform, visitor, cursor, PER_PAGE)
    titles = ("Repository", "Tags", "Manifests", "Size", "Owner", "Created")
    return pages.page(
        "Registry",
        pages.search_box("/registry", q),
        pages.table(titles, [_repository_row(one) for one in found.items]),
        _next("/registry", {"q": q}, found.next),
    )


def _repository_row(one: Repository) -> tuple[object, ...]:
    name = link("/registry/repository", {"name": one.name}, one.name)
    return (name, one.tags, one.manifests, plain_size(one.size), one.owner, one.created_at)


@router.get("/repository")
def repository_page(
    platform: PlatformDep, visitor: VisitorDep, name: Name, cursor: After = ""
) -> Response:
    """The tags of a repository."""
    visitor.require(name, Action.PULL)
    found = registry.list_tags(platform, name, "", cursor, PER_PAGE)
    titles = ("Tag", "Digest", "Size", "Pushed", "By", "Pulls", "Last pull", "Immutable by")
    return pages.page(
        name,
        pages.table(titles, [_tag_row(name, one) for one in found.items]),
        _next("/registry/repository", {"name": name}, found.next),
    )


def _tag_row(repository: str, tag: TagDocument) -> tuple[object, ...]:
    return (
        _image_link(repository, tag.name, tag.name),
        _digest_link(repository, tag.digest),
        plain_size(tag.size),
        tag.pushed_at,
        tag.by,
        tag.pulls,
        tag.last_pulled_at,
        tag.immutable,
    )


@router.get("/image")
def image_page(
    platform: PlatformDep, visitor: VisitorDep, name: Name, reference: Reference
) -> Response:
    """One image: what it is made of, who shares it, what its tag has meant."""
    visitor.require(name, Action.PULL)
    image = registry.get_manifest(platform, name, reference)
    parts = [pages.facts(_facts(image)), Html("<h2>Layers</h2>"), _layers(image)]
    if image.children:
        children = [(_digest_link(name, digest),) for digest in image.children]
        parts += [Html("<h2>Images of this index</h2>"), pages.table(("Digest",), children)]
    if image.annotations:
        rows = sorted(image.annotations.items())
        parts += [Html("<h2>Annotations</h2>"), pages.table(("Key", "Value"), rows)]
    if image.pulled_by:
        pullers = [(one.name, one.pulls, one.last_pulled_at) for one in image.pulled_by]
        parts += [Html("<h2>Pulled by</h2>"), pages.table(("Account", "Pulls", "Last"), pullers)]
    if ":" not in reference:
        parts += [Html("<h2>History of the tag</h2>"), _history(platform, name, reference)]
    mark = "@" if ":" in reference else ":"
    return pages.page(f"{name}{mark}{reference}", *parts)


def _facts(image: ManifestDocument) -> list[tuple[str, object]]:
    shared = f"{plain_size(image.size)}, {plain_size(image.shared)} of it shared with others"
    tags = [_image_link(image.repository, tag, tag) for tag in image.tags]
    return [
        ("Repository", link("/registry/repository", {"name": image.repository}, image.repository)),
        ("Digest", code(image.digest)),
        ("Tags", Html(", ".join(tags)) if tags else None),
        ("Type", image.artifact_type or image.media_type),
        ("State", image.state),
        ("Size", shared),
        ("Pushed", image.pushed_at),
        ("Pushed by", image.pushed_by),
        ("Pulls", image.pulls),
        ("Last pull", image.last_pulled_at),
        ("Refers to", _digest_link(image.repository, image.subject) if image.subject else None),
        ("Referrers", image.referrers),
        ("Needed by", ", ".join(image.in_use)),
    ]


def _layers(image: ManifestDocument) -> Html:
    rows = [
        (code(one.digest), one.media_type, plain_size(one.size), one.images, one.repositories)
        for one in image.layers
    ]
    return pages.table(("Digest", "Type", "Size", "Images with it", "Repositories"), rows)


def _history(platform: PlatformDep, name: str, tag: str) -> Html:
    rows = [
        (
            one.started_at,
            one.ended_at,
            _digest_link(name, one.digest) if one.present else code(one.digest[:SHOWN_DIGEST]),
            one.by,
            one.ended_by,
            "there" if one.present else "gone",
        )
        for one in registry.tag_history(platform, name, tag, HISTORY).items
    ]
    return pages.table(("From", "Until", "Digest", "By", "Ended by", "Image"), rows)


@router.get("/usage")
def usage_page(
    platform: PlatformDep,
    visitor: VisitorDep,
    by: UsageBy = UsageBy.NAMESPACE,
    cursor: After = "",
) -> Response:
    """What namespaces or owners hold."""
    report = registry.usage(platform, visitor, by, "", cursor, PER_PAGE)
    rows = [
        (
            one.name,
            one.repositories,
            one.tags,
            one.manifests,
            plain_size(one.size),
            plain_size(one.quota) if one.quota else None,
            one.owner,
        )
        for one in report.items
    ]
    other = UsageBy.OWNER if by is UsageBy.NAMESPACE else UsageBy.NAMESPACE
    titles = ("Name", "Repositories", "Tags", "Manifests", "Size", "Quota", "Owner")
    return pages.page(
        f"Usage by {by}",
        Html(f"<p>{pages.text(_sum(report))}</p>"),
        link("/registry/usage", {"by": other}, f"by {other}"),
        pages.table(titles, rows),
        _next("/registry/usage", {"by": by}, report.next),
    )


def _sum(report: UsageReport) -> str:
    if report.stored is None:
        return f"The repositories that you may pull hold {plain_size(report.size)}."
    return (
        f"All repositories hold {plain_size(report.size)}; {plain_size(report.stored)} lie in "
        "storage, where shared layers lie once."
    )


def _next(path: str, query: dict[str, str], cursor: str | None) -> Html:
    return link(path, {**query, "cursor": cursor}, "Next page") if cursor else Html("")


def _image_link(repository: str, reference: str, label: object) -> Html:
    return link("/registry/image", {"name": repository, "reference": reference}, label)


def _digest_link(repository: str, digest: str) -> Html:
    return _image_link(repository, digest, code(digest[:SHOWN_DIGEST]))
