"""Fetched artifacts together with the names that people gave them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetwide.models.bakery import Artifact, ArtifactType


@dataclass(frozen=True)
class NamedFile:
    """A file on disk and the name that it was given by people."""

    path: Path
    name: str


def files_of_type(
    wanted: ArtifactType, artifacts: Sequence[Artifact], paths: Sequence[Path]
) -> list[NamedFile]:
    """The artifacts of one type; ``paths`` are the places of all, in their order."""
    pairs = zip(paths, artifacts, strict=True)
    return [NamedFile(path, one.filename) for path, one in pairs if one.type is wanted]
