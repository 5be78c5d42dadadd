"""What the security suite offers for the packages of a release that are older there."""

from collections.abc import Sequence
from dataclasses import dataclass

from fleetwide.baseos.debversions import compare_versions
from fleetwide.baseos.locks import Chosen
from fleetwide.baseos.stanzas import parse_stanza
from fleetwide.models.baseos import OSImageSpec
from fleetwide.models.os_locks import LockedPackage
from fleetwide.models.os_releases import OSRelease
from fleetwide.providers.fixes import Candidate
from fleetwide.providers.os_locks import LockResolver
from fleetwide.providers.pool import Pool
from fleetwide.providers.progress import Progress, span


@dataclass(frozen=True)
class NewerPackages:
    """The packages with a newer one in a security suite, and the suites that were asked."""

    candidates: list[Candidate]
    compared_with: list[str]


def newer_packages(
    release: OSRelease,
    installed: Sequence[LockedPackage],
    locks: LockResolver,
    pool: Pool,
    progress: Progress,
) -> NewerPackages:
    """Ask the release's security suites and fetch what is newer there.

    Raises:
        PlatformError: an archive does not answer.
    """
    spec = OSImageSpec(
        name=release.name,
        distribution=release.distribution,
        suite=release.suite,
        architecture=release.architecture,
    )
    archive, sources = locks.security_archive(spec)
    if not sources:
        return NewerPackages([], [])
    with archive.held(progress):
        archive.update(span(progress, 0.0, 0.4))
        progress("comparing versions", 0.4)
        pairs = _pairs(installed, archive.newest())
        chosen = [
            Chosen(one.name, new["version"], new["architecture"], security=True)
            for one, _, new in pairs
        ]
        urls = archive.urls(chosen) if chosen else {}
    newer = [_package(one, text, new, urls[new["sha256"]]) for one, text, new in pairs]
    pool.fetch(newer, span(progress, 0.4, 0.8))
    candidates = [
        Candidate(one, late, pool.path(late))
        for (one, _, _), late in zip(pairs, newer, strict=True)
    ]
    return NewerPackages(candidates, [f"{source.url} {source.suite}" for source in sources])


Pair = tuple[LockedPackage, str, dict[str, str]]


def _pairs(installed: Sequence[LockedPackage], newest: Sequence[str]) -> list[Pair]:
    """Each installed package with the paragraph of a newer one, as text and as fields."""
    offered = {(entry := parse_stanza(text))["package"]: (text, entry) for text in newest}
    return [
        (one, *offered[one.name])
        for one in installed
        if one.name in offered
        and compare_versions(offered[one.name][1]["version"], one.version) > 0
    ]


def _package(one: LockedPackage, text: str, entry: dict[str, str], url: str) -> LockedPackage:
    return LockedPackage(
        name=one.name,
        version=entry["version"],
        architecture=entry["architecture"],
        sha256=entry["sha256"],
        size=int(entry["size"]),
        url=url,
        stanza=text,
        faces=one.faces,
        security=True,
    )
