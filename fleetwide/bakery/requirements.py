"""Whether wheels fit a base, and what they need of each other."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name

from fleetwide.errors import ArtifactRejected, DependencyUnsatisfied, WrongArchitecture
from fleetwide.models.baseos import Architecture

MACHINES: dict[Architecture, str] = {
    Architecture.AMD64: "x86_64",
    Architecture.ARM64: "aarch64",
}


WheelNeed = tuple[Metadata, Requirement]
"""A package, and one thing that it requires."""


@dataclass(frozen=True)
class PythonPlatform:
    """The Python of a base: version such as (3, 11), machine, and glibc version."""

    version: tuple[int, int]
    full_version: str
    machine: str
    glibc: tuple[int, int]

    def tags(self) -> frozenset[Tag]:
        """All wheel tags that this Python can use."""
        platforms = self.platforms()
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

    def platforms(self) -> list[str]:
        """The platform tags of wheels with compiled modules, the most special first."""
        return [*self._manylinux(), f"linux_{self.machine}"]

    def _manylinux(self) -> list[str]:
        major, minor = self.glibc
        legacy = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        names = []
        for number in range(minor, 4, -1):
            names.append(f"manylinux_{major}_{number}_{self.machine}")
            if number in legacy:
                names.append(f"{legacy[number]}_{self.machine}")
        return names


def check_wheel(metadata: Metadata, tags: Collection[Tag], python: PythonPlatform) -> None:
    """Refuse a wheel that the base's Python cannot load.

    Raises:
        WrongArchitecture: its compiled modules are for other machines.
        ArtifactRejected: it is for another Python.
    """
    name = f"{metadata.name} {metadata.version}"
    running = python.full_version
    if not python.tags().intersection(tags):
        error = ArtifactRejected if _is_for_machine(tags, python.machine) else WrongArchitecture
        raise error(
            f"wheel {name} is built for {', '.join(sorted(map(str, tags)))}, "
            f"which Python {running} on {python.machine} cannot load"
        )
    wanted = metadata.requires_python
    if wanted is not None and not wanted.contains(running, prereleases=True):
        raise ArtifactRejected(
            f"wheel {name} wants Python {wanted}; the base has {running}",
            hint="bake onto an OS release with a newer suite",
        )


def _is_for_machine(tags: Iterable[Tag], machine: str) -> bool:
    return any(tag.platform == "any" or tag.platform.endswith(f"_{machine}") for tag in tags)


def check_requirements(
    wanted: Sequence[Metadata], brought: Sequence[Metadata], python: PythonPlatform
) -> None:
    """Raise ``DependencyUnsatisfied`` when ``wanted`` packages need more than is ``brought``."""
    unmet = unmet_requirements(wanted, brought, python)
    if unmet:
        raise unsatisfied(unmet, brought)


def unsatisfied(unmet: Sequence[WheelNeed], brought: Sequence[Metadata]) -> DependencyUnsatisfied:
    """The error that names every requirement, and what is there in its place."""
    versions = {canonicalize_name(one.name): one.version for one in brought}
    told = []
    for package, requirement in unmet:
        found = versions.get(canonicalize_name(requirement.name))
        has = "" if found is None else f" (the bake has {found})"
        told.append(f"{package.name} {package.version} needs {requirement}{has}")
    return DependencyUnsatisfied(
        f"requirements that the bake does not bring: {'; '.join(told)}",
        hint="add a wheel for each to `artifacts`: pip wheel -w wheels <your wheel>",
    )


def unmet_requirements(
    wanted: Sequence[Metadata], brought: Sequence[Metadata], python: PythonPlatform
) -> list[WheelNeed]:
    """What ``wanted`` packages and what they lead to need, and ``brought`` does not satisfy."""
    by_name = _by_name(brought)
    return [
        (package, requirement)
        for package, requirement in _applying(wanted, by_name, python)
        if not is_satisfied(requirement, by_name.get(canonicalize_name(requirement.name)))
    ]


def is_satisfied(requirement: Requirement, found: Metadata | None) -> bool:
    """Whether ``found``, the package of the requirement's name if there is one, will do."""
    return found is not None and requirement.specifier.contains(found.version, prereleases=True)


def reached(
    wanted: Sequence[Metadata], brought: Sequence[Metadata], python: PythonPlatform
) -> set[str]:
    """Canonical names of ``wanted`` packages and of all in ``brought`` that they lead to."""
    needs = _applying(wanted, _by_name(brought), python)
    required = {canonicalize_name(requirement.name) for _, requirement in needs}
    return {*(canonicalize_name(one.name) for one in wanted), *required}


def applying_requirements(package: Metadata, python: PythonPlatform) -> list[Requirement]:
    """What a package requires on ``python`` when it is asked for without extras."""
    return [requirement for _, requirement in _applying([package], {}, python)]


def check_direct(packages: Iterable[Metadata]) -> None:
    """Refuse requirements that name a URL: their bytes are pinned by nobody.

    Raises:
        ArtifactRejected: names the package and the requirement.
    """
    for package in packages:
        for requirement in package.requires_dist or []:
            if requirement.url is not None:
                raise ArtifactRejected(
                    f"{package.name} {package.version} requires {requirement.name} by a URL",
                    hint=f"add a wheel of {requirement.name} to `artifacts`",
                )


def _by_name(packages: Iterable[Metadata]) -> dict[str, Metadata]:
    return {canonicalize_name(one.name): one for one in packages}


def _applying(
    wanted: Sequence[Metadata], brought: Mapping[str, Metadata], python: PythonPlatform
) -> list[WheelNeed]:
    """Every requirement that holds on ``python``, following the extras that others ask for."""
    known = {**brought, **_by_name(wanted)}
    waiting = [(canonicalize_name(one.name), "") for one in wanted]
    seen = set(waiting)
    found = []
    while waiting:
        name, extra = waiting.pop(0)
        package = known[name]
        environment = {**python.environment(), "extra": extra}
        for requirement in package.requires_dist or []:
            if requirement.marker is not None and not requirement.marker.evaluate(environment):
                continue
            if not extra or _names_extra(requirement):
                found.append((package, requirement))
            target = canonicalize_name(requirement.name)
            more = (
                {(target, one) for one in ("", *requirement.extras)} if target in known else set()
            )
            waiting += sorted(more - seen)
            seen |= more
    return found


def _names_extra(requirement: Requirement) -> bool:
    return requirement.marker is not None and "extra" in str(requirement.marker)
