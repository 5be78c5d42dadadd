"""What a bake adds to its base, as a bill of materials lists it."""

from collections.abc import Callable, Iterator, Mapping

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from fleetwide.bakery.public_urls import public_url
from fleetwide.baseos.sbom import Component, Inventory, SbomSubject, deb_url, package_url
from fleetwide.models.bakery import Artifact, ArtifactType
from fleetwide.models.bakes import BakedDisk, BuiltLayer, Dependency, DependencyKind, ResolvedBake
from fleetwide.models.baseos import Architecture, Distribution, Target
from fleetwide.registry.digests import PREFIX

PackageKey = tuple[DependencyKind, str]
"""A package by its kind and its name; Python names in their normal form."""

PYTHON_KINDS = frozenset({ArtifactType.WHEEL, ArtifactType.SDIST})


def delta_inventory(bake: ResolvedBake, made: BuiltLayer | BakedDisk) -> Inventory:
    """The artifacts of the bake, its dependencies, and the packages that are known to be in it.

    It is about the layer, or the disk: the container's manifest names its document by digest, so
    that the document cannot name the manifest. Wheels that only built another one are in neither.
    """
    subject = _subject(bake, made)
    found = {_key(one.kind, one.name): _dependency(one, subject) for one in bake.dependencies}
    packages = dict(_packages(bake, subject, made.packages))
    found = {key: found.get(key, package) for key, package in packages.items()}
    parts = list(_artifacts(bake, found, subject))
    parts += found.values()
    unique = {part.purl: part for part in parts}
    ordered = sorted(unique.values(), key=lambda one: (one.name, one.version, one.purl))
    return Inventory(subject, tuple(ordered), is_delta=True)


def _subject(bake: ResolvedBake, made: BuiltLayer | BakedDisk) -> SbomSubject:
    spec, base = bake.spec, bake.base
    is_layer = isinstance(made, BuiltLayer)
    return SbomSubject(
        target=Target.CONTAINER if is_layer else Target.VM,
        name=spec.name,
        version=spec.version,
        digest=made.layer.digest if isinstance(made, BuiltLayer) else made.disk.digest,
        distribution=Distribution(base.distribution),
        suite=base.suite,
        architecture=Architecture(base.architecture),
        source_date_epoch=base.created_epoch,
    )


def _packages(
    bake: ResolvedBake, subject: SbomSubject, packages: Mapping[str, str]
) -> Iterator[tuple[PackageKey, Component]]:
    """All that the bake adds; a Python bake brings distribution packages only as dependencies."""
    is_python = any(one.type in PYTHON_KINDS for one in bake.spec.artifacts)
    debs = {one.name for one in bake.dependencies if one.kind is DependencyKind.DEB}
    for name, version in packages.items():
        is_wheel = is_python and name not in debs
        kind = DependencyKind.WHEEL if is_wheel else DependencyKind.DEB
        purl = _pypi_url(name, version) if is_wheel else deb_url(subject, name, version, "")
        yield _key(kind, name), Component(name=name, version=version, purl=purl)


def _dependency(dependency: Dependency, subject: SbomSubject) -> Component:
    name, version = dependency.name, dependency.version
    if dependency.kind is DependencyKind.WHEEL:
        purl = _pypi_url(name, version)
    else:
        purl = deb_url(subject, name, version, _architecture_of(dependency.filename))
    return Component(
        name=name,
        version=version,
        purl=purl,
        sha256=dependency.sha256,
        url=public_url(dependency.url),
    )


def _artifacts(
    bake: ResolvedBake, found: dict[PackageKey, Component], subject: SbomSubject
) -> Iterator[Component]:
    """The artifacts themselves; one that is a package takes the place of that in ``found``."""
    for artifact in bake.spec.artifacts:
        package = _python_package(artifact)
        if package is not None:
            found.pop(_key(DependencyKind.WHEEL, package.name), None)
            yield package
        else:
            yield _file(artifact, subject)


def _file(artifact: Artifact, subject: SbomSubject) -> Component:
    digest = f"{PREFIX}{artifact.sha256}"
    purl = package_url("generic", None, artifact.filename, "", {"checksum": digest})
    if artifact.repository is not None:
        where = {"arch": subject.architecture.value, "repository_url": artifact.repository}
        purl = package_url("oci", None, artifact.repository.rpartition("/")[2], digest, where)
    return Component(
        name=artifact.filename,
        version="",
        purl=purl,
        sha256=artifact.sha256,
        url=public_url(artifact.url),
        is_application=True,
    )


def _python_package(artifact: Artifact) -> Component | None:
    """A wheel or sdist as the package that its name says; None when it is neither."""
    parse = _PARSERS.get(artifact.type)
    if parse is None:
        return None
    try:
        name, version = parse(artifact.filename)
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None
    return Component(
        name=name,
        version=version,
        purl=_pypi_url(name, version),
        sha256=artifact.sha256,
        url=public_url(artifact.url),
        is_application=True,
    )


def _wheel(filename: str) -> tuple[str, str]:
    name, version, _, _ = parse_wheel_filename(filename)
    return name, str(version)


def _sdist(filename: str) -> tuple[str, str]:
    name, version = parse_sdist_filename(filename)
    return name, str(version)


_PARSERS: dict[ArtifactType, Callable[[str], tuple[str, str]]] = {
    ArtifactType.WHEEL: _wheel,
    ArtifactType.SDIST: _sdist,
}


def _pypi_url(name: str, version: str) -> str:
    return package_url("pypi", None, canonicalize_name(name), version, {})


def _architecture_of(filename: str) -> str:
    """As ``name_version_architecture.deb`` has it; empty when the file is called otherwise."""
    parts = filename.removesuffix(".deb").split("_")
    return parts[2] if len(parts) == 3 else ""


def _key(kind: DependencyKind, name: str) -> PackageKey:
    return kind, canonicalize_name(name) if kind is DependencyKind.WHEEL else name
