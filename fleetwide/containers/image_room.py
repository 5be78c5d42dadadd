"""Which images a host lets go when its disk fills up: those that nobody has used for longest."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class HeldImage:
    """An image that an engine holds; times in Unix seconds."""

    id: str
    names: tuple[str, ...]
    """All that it is known by: registry/repository:tag and registry/repository@digest."""
    size: int
    """Bytes, with the layers that other images share."""
    used_at: float
    """When a container was last made of it or it was fetched, as far as is known."""


@dataclass(frozen=True)
class Kept:
    """What may not go, whatever its age."""

    registry: str
    """Only images all of whose names begin so are the platform's own."""
    in_use: Collection[str]
    """Ids of images that a container is made of, whether it runs or not."""
    wanted: Collection[str]
    """Names that tasks which wait or run anywhere will ask for."""
    used_since: float
    """What was used later may be about to be used again: placed, or pre-heated."""


def removable(images: Iterable[HeldImage], kept: Kept) -> list[HeldImage]:
    """The images that may go, in the order in which they should."""
    found = [image for image in images if _may_go(image, kept)]
    return sorted(found, key=lambda image: (image.used_at, -image.size, image.id))


def _may_go(image: HeldImage, kept: Kept) -> bool:
    ours = bool(image.names) and all(name.startswith(kept.registry) for name in image.names)
    asked_for = image.id in kept.in_use or any(name in kept.wanted for name in image.names)
    return ours and not asked_for and image.used_at < kept.used_since
