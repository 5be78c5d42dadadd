"""What changed between the packages of two releases."""

from collections.abc import Iterable

from fleetwide.baseos.debversions import compare_versions
from fleetwide.models.baseos import Face
from fleetwide.models.os_locks import Lock, LockedPackage
from fleetwide.models.os_reports import PackageChange, PackageDiff


def package_diff(
    before: Lock | Iterable[LockedPackage], after: Lock | Iterable[LockedPackage]
) -> PackageDiff:
    """The changes from ``before`` to ``after``.

    A whole lock stands for the packages that lie in its images: its tools do not count.
    """
    old, new = _by_name(before), _by_name(after)
    changes: dict[str, list[PackageChange]] = {kind: [] for kind in PackageDiff.model_fields}
    for name in sorted({*old, *new}):
        kind = _kind(old.get(name), new.get(name))
        if kind is not None:
            changes[kind].append(_change(name, old.get(name), new.get(name)))
    return PackageDiff(**changes)


def _by_name(packages: Lock | Iterable[LockedPackage]) -> dict[str, LockedPackage]:
    if isinstance(packages, Lock):
        packages = [one for one in packages.packages if one.faces != [Face.TOOLS]]
    return {package.name: package for package in packages}


def _kind(old: LockedPackage | None, new: LockedPackage | None) -> str | None:
    """The list that the change belongs to."""
    if old is None:
        return "added"
    if new is None:
        return "removed"
    order = compare_versions(new.version, old.version)
    if order == 0:
        return None if old.sha256 == new.sha256 else "replaced"
    return "upgraded" if order > 0 else "downgraded"


def _change(name: str, old: LockedPackage | None, new: LockedPackage | None) -> PackageChange:
    return PackageChange(
        name=name,
        before=old.version if old else None,
        after=new.version if new else None,
        security=new is not None and new.security,
    )
