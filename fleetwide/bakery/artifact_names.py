"""What the name of a deployment artifact's file tells: the package, its version, its kind.

Names are believed only to find an artifact; a bake looks into the file itself.
"""

import re
from dataclasses import dataclass

from fleetwide.models.bakery import ArtifactType

ENDINGS: dict[str, ArtifactType] = {
    ".deb": ArtifactType.DEB,
    ".whl": ArtifactType.WHEEL,
    ".zip": ArtifactType.ZIP,
    ".tar": ArtifactType.TARBALL,
    ".tar.gz": ArtifactType.TARBALL,
    ".tgz": ArtifactType.TARBALL,
    ".tar.xz": ArtifactType.TARBALL,
    ".tar.bz2": ArtifactType.TARBALL,
}
_NAME_AND_VERSION = re.compile(r"(.+?)[-_]v?([0-9][0-9A-Za-z.+~-]*)")
_ANY_ARCHITECTURE = "all"


@dataclass(frozen=True)
class ArtifactName:
    """A file's name, taken apart; what it does not tell is empty."""

    filename: str
    package: str
    version: str = ""
    architecture: str = ""
    """Of a .deb, ``all`` included."""

    def runs_on(self, architecture: str) -> bool:
        """Whether the name has nothing against a base of that architecture."""
        return self.architecture in ("", _ANY_ARCHITECTURE, architecture)

    def is_meant_by(self, words: str) -> bool:
        """Whether people mean this file by its name, its package, or its package and version."""
        if words in (self.filename, self.filename.removesuffix(ending_of(self.filename))):
            return True
        package = _folded(self.package)
        version = f"{package}-{_folded(self.version)}"
        return _folded(words) in {package, version, f"{version}-{self.architecture}"}


def ending_of(filename: str) -> str:
    """The ending that tells the kind, with its dot; empty where none does."""
    return next((ending for ending in ENDINGS if filename.endswith(ending)), "")


def kind_of(filename: str) -> ArtifactType | None:
    """The kind that the ending stands for."""
    return ENDINGS.get(ending_of(filename))


def take_apart(filename: str) -> ArtifactName:
    """``hello_1.0-1_amd64.deb``, ``hello-1.0-py3-none-any.whl``, ``hello-1.0.zip``, ``hello``."""
    ending = ending_of(filename)
    stem = filename.removesuffix(ending)
    kind = ENDINGS.get(ending)
    if kind is ArtifactType.DEB:
        package, _, rest = stem.partition("_")
        version, _, architecture = rest.partition("_")
        return ArtifactName(filename, package, version, architecture)
    if kind is ArtifactType.WHEEL:
        package, _, rest = stem.partition("-")
        return ArtifactName(filename, package, rest.partition("-")[0])
    found = _NAME_AND_VERSION.fullmatch(stem)
    return ArtifactName(filename, *found.groups()) if found else ArtifactName(filename, stem)


def _folded(name: str) -> str:
    """Package names differ in case and in their dashes between a file and its package.

    ``=`` stands before the version in the words of apt.
    """
    return re.sub(r"[-_=]+", "-", name).lower()
