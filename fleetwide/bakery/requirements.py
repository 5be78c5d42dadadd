"""Whether wheels fit a base and, together, need nothing more."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name

from fleetwide.errors import ArtifactRejected
from fleetwide.models.baseos import Architecture

MACHINES: dict[Architecture, str] = {
    Architecture.AMD64: "x86_64",
    Architecture.ARM64: "aarch64",
}


@dataclass(frozen=True)
class PythonPlatform:
    """The Python of a base: version such as (3, 11), machine, and glibc version."""

    version: tuple[int, int]
    full_version: str
    machine: str
    glibc: tuple[int, int]

    def tags(self) -> frozenset[Tag]:
        """All wheel tags that this Python can use."""
        platforms = [*self._manylinux(), f"linux_{self.machine}"]
        short = "".join(map(str, self.version))
        return frozenset(
            [
                *cpython_tags(self.version, platforms=platforms),
                *compatible_tags(self.version, f"cp{short}", platforms),
            ]
        )

    def environment(self) -> dict[str, str]:
        """The values of environment markers (PEP 508)."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.full_version,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.full_version,
            "python_version": ".".join(map(str, self.version)),
            "sys_platform": "linux",
            "extra": "",
        }

    def _manylinux(self) -> list[str]:
        major, minor = self.glibc
        legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        names = []
        for number in range(minor, 4, -1):
            names.append(f"manylinux_{major}_{number}_{self.machine}")
            if number in legacy:
                names.append(f"{legacy[number]}_{self.machine}")
        return names


def check_wheel(metadata: Metadata, tags: Iterable[Tag], python: PythonPlatform) -> None:
    """Refuse a wheel that the base's Python cannot load."""
    name = f"{metadata.name} {metadata.version}"
    given = sorted(map(str, tags))
    running = python.full_version
    if not python.tags().intersection(tags):
        raise ArtifactRejected(
            f"wheel {name} is built for {', '.join(given)}, "
            f"which Python {running} on {python.machine} cannot load"
        )
    wanted = metadata.requires_python
    if wanted is not None and not wanted.contains(running, prereleases=True):
        raise ArtifactRejected(
            f"wheel {name} wants Python {wanted}; the base has {running}",
            hint="bake onto an OS release with a newer suite",
        )


def check_requirements(wheels: Sequence[Metadata], python: PythonPlatform) -> None:
    """Refuse wheels whose requirements the bake does not itself bring along."""
    brought = {canonicalize_name(one.name): one for one in wheels}
    missing = []
    for wheel, requirement in _applying(wheels, python):
        found = brought.get(canonicalize_name(requirement.name))
        if found is None or not requirement.specifier.contains(found.version, prereleases=True):
            has = "" if found is None else f" (the bake has {found.version})"
            missing.append(f"{wheel.name} {wheel.version} needs {requirement}{has}")
    if missing:
        raise ArtifactRejected(
            f"requirements that the bake does not bring: {'; '.join(missing)}",
            hint="add a wheel for each to `artifacts`: pip wheel -w wheels <your wheel>",
        )


def _applying(
    wheels: Sequence[Metadata], python: PythonPlatform
) -> list[tuple[Metadata, Requirement]]:
    """Every requirement that holds on ``python``, following the extras that others ask for."""
    brought = {canonicalize_name(one.name): one for one in wheels}
    waiting = [(name, "") for name in brought]
    seen = set(waiting)
    found = []
    while waiting:
        name, extra = waiting.pop(0)
        wheel = brought[name]
        environment = {**python.environment(), "extra": extra}
        for requirement in wheel.requires_dist or []:
            if requirement.marker is not None and not requirement.marker.evaluate(environment):
                continue
            found.append((wheel, requirement))
            target = canonicalize_name(requirement.name)
            more = {(target, one) for one in requirement.extras} if target in brought else set()
            waiting += sorted(more - seen)
            seen |= more
    return found
