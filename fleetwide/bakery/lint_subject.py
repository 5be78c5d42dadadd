"""What an image is looked over by: everything that the rules need, as plain facts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from fleetwide.bakery.programs import Program
from fleetwide.baseos.checks import Entry
from fleetwide.models.bakery import BakeSpec
from fleetwide.models.bakes import BaseImage

MAX_FOUND = 20
"""Findings per rule; more only say that something is wrong altogether."""


class Leak(NamedTuple):
    """A secret in a file of the layer; ``sentence`` is of ``find_leaks``."""

    path: str
    sentence: str


class Found(NamedTuple):
    """A place that breaks a rule; without a hint the rule's own holds."""

    where: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class LintSubject:
    """An image to look over. What was not looked at is None, and its rules find nothing."""

    spec: BakeSpec
    entries: Sequence[Entry] = ()
    """Of the bake's own layer, less deletions."""
    leaks: Sequence[Leak] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    """Packages that the layer adds, to their version."""
    base: BaseImage | None = None
    layer_size: int | None = None
    """Compressed bytes of the bake's own layer."""
    program: Program | None = None
    """What the image starts, where that can be told."""
    today: int | None = None
    """Seconds since 1970 when the image is looked at: bases grow old."""


def at_most(found: Iterator[Found]) -> Iterator[Found]:
    """The first ``MAX_FOUND``, and that there are more: nobody reads 200,000 of a kind."""
    yield from islice(found, MAX_FOUND)
    if next(found, None) is not None:
        yield Found("", f"and more than these {MAX_FOUND}")
