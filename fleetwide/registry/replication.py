"""What is copied to other regions, and in which order; pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fleetwide.errors import InvalidInput
from fleetwide.models.registry_regions import RegistryRegions, Upstream
from fleetwide.registry.tag_rules import matches_any

MAX_MANIFESTS = 20_000
SET_REGIONS = (
    "let FLEETWIDE_REGISTRY_REGIONS name a file of regions for the API and for "
    "fleetwide worker replication; docs/guides/registry-regions.md says what stands in it"
)


@dataclass(frozen=True)
class Node:
    """A manifest and what is directly below or about it."""

    digest: str
    children: tuple[str, ...] = ()
    referrers: tuple[str, ...] = ()


def regions_of(regions: RegistryRegions, repository: str) -> list[str]:
    """Where the rules want copies of the repository's images, by name.

    What came from an upstream is not copied: each region asks the upstream itself.
    """
    if upstream_of(regions, repository) is not None:
        return []
    speaking = [rule for rule in regions.rules if matches_any(rule.repositories, repository)]
    return sorted({name for rule in speaking for name in rule.regions})


def chosen_regions(
    regions: RegistryRegions, repository: str, asked: Iterable[str] = ()
) -> list[str]:
    """Where an image is to be copied now: where somebody asks for, else where the rules say.

    Raises:
        InvalidInput: there is no such region, none at all, or no rule speaks of the repository.
    """
    known = ", ".join(sorted(regions.regions))
    if not known:
        raise InvalidInput.for_field(
            "regions", "this registry knows of no other region", hint=SET_REGIONS
        )
    names = list(dict.fromkeys(asked)) or regions_of(regions, repository)
    if unknown := sorted(set(names) - set(regions.regions)):
        raise InvalidInput.for_field(
            "regions", f"there is no region {unknown[0]}", hint=f"the file of regions has {known}"
        )
    if not names:
        raise InvalidInput.for_field(
            "regions",
            f"no rule says where {repository} is copied to",
            hint=f"fleetwide registry replicate {repository}:TAG --region NAME, of {known}",
        )
    return names


def upstream_of(regions: RegistryRegions, repository: str) -> tuple[Upstream, str] | None:
    """The upstream that a repository is fetched from, with the repository's name there."""
    for prefix, upstream in regions.upstreams.items():
        if repository.startswith(f"{prefix}/"):
            rest = repository.removeprefix(f"{prefix}/")
            return upstream, f"{upstream.repository}/{rest}".lstrip("/")
    return None


def copy_order(root: str, look_up: Callable[[str], Node | None]) -> list[str]:
    """The manifests to copy for ``root``: children before their index, then what refers to them.

    A child that is not here (a sparse index) is left out. Whoever reads the copy while it is made
    finds nothing that refers to a missing thing.

    Raises:
        InvalidInput: there are more than ``MAX_MANIFESTS``.
    """
    ordered: dict[str, None] = {}
    seen: set[str] = set()
    # Without recursion: indexes may be nested as deep as somebody likes.
    todo = [(root, False)]
    while todo:
        digest, expanded = todo.pop()
        node = look_up(digest) if expanded or digest not in seen else None
        if node is None:
            continue
        if expanded:
            ordered[digest] = None
            todo += [(one, False) for one in reversed(node.referrers) if one not in seen]
            continue
        seen.add(digest)
        if len(seen) > MAX_MANIFESTS:
            raise InvalidInput(f"more than {MAX_MANIFESTS} manifests belong to {root}")
        todo.append((digest, True))
        todo += [(one, False) for one in reversed(node.children) if one not in seen]
    return list(ordered)


def wanted_by_event(regions: RegistryRegions, kind: str, data: Mapping[str, str]) -> list[str]:
    """The regions that an event of the registry concerns."""
    if kind not in ("manifest-pushed", "tag-moved"):
        return []
    repository, digest = data.get("repository"), data.get("digest")
    return regions_of(regions, repository) if repository and digest else []


def unique(images: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each once, in the order of their first appearance."""
    return list(dict.fromkeys(images))
