"""What a Python source distribution says about how it is built (PEP 517, PEP 518, PEP 643)."""

import tomllib
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement

from fleetwide.errors import ArtifactRejected


@dataclass(frozen=True)
class BuildSystem:
    """The program that makes a wheel of a source tree, and what it needs."""

    requires: tuple[Requirement, ...]
    backend: str
    """``module`` or ``module:object``."""
    backend_path: tuple[str, ...] = ()
    """Folders of the source tree that hold the backend itself."""


LEGACY = BuildSystem((Requirement("setuptools>=40.8.0"),), "setuptools.build_meta:__legacy__")
"""Where a source tree says nothing. Source: PEP 517."""


def build_system(pyproject: str | None, name: str) -> BuildSystem:
    """Read the text of ``pyproject.toml``; None where there is none. ``name`` is the sdist's.

    Raises:
        ArtifactRejected: the text says nothing that can be understood.
    """
    try:
        table = tomllib.loads(pyproject or "").get("build-system")
        if table is None:
            return LEGACY
        requires = tuple(Requirement(one) for one in table["requires"])
        if "build-backend" not in table:
            return BuildSystem(requires, LEGACY.backend)
        folders = tuple(map(str, table.get("backend-path", [])))
        return BuildSystem(requires, str(table["build-backend"]), folders)
    except (ValueError, KeyError, TypeError, AttributeError, InvalidRequirement) as error:
        raise ArtifactRejected(
            f"{name}: the table build-system of its pyproject.toml is not valid: {error}"
        ) from error
