"""Fixes that the security suite has ready for what is installed.

Read from the changelogs of the newer packages, so it tells only what Debian wrote there about
issues that are fixed already. It is no vulnerability scan: an open issue does not show.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleetwide.baseos.changelogs import News, is_changelog, news_since
from fleetwide.baseos.debversions import compare_versions
from fleetwide.baseos.stanzas import source_of
from fleetwide.models.os_locks import LockedPackage
from fleetwide.models.os_reports import Fix

NO_CHANGELOG = "no changelog could be read: the fix may or may not be about security"
CUT_SHORT = "the changelog does not reach back to what is installed: there may be more fixes"


@dataclass(frozen=True)
class Upgrade:
    """A newer package for an installed one, and its own changelog where it has one."""

    installed: LockedPackage
    newer: LockedPackage
    changelog: str | None


def available_fixes(upgrades: Sequence[Upgrade]) -> list[Fix]:
    """One fix for each upgrade that is really newer, ordered by package.

    Packages of one source share its changelog: where one ships none, a sibling's is read.
    """
    shared = _by_source(upgrades)
    newer = [one for one in upgrades if _is_newer(one)]
    return [_fix(one, shared) for one in sorted(newer, key=lambda one: one.installed.name)]


def _is_newer(upgrade: Upgrade) -> bool:
    return compare_versions(upgrade.newer.version, upgrade.installed.version) > 0


def _by_source(upgrades: Iterable[Upgrade]) -> dict[tuple[str, str], str]:
    """The longest Debian changelog of each source package and version."""
    found: dict[tuple[str, str], str] = {}
    for one in upgrades:
        source, text = source_of(one.newer), one.changelog or ""
        # A package without a Debian changelog may still ship the one of its upstream authors.
        if len(text) > len(found.get(source, "")) and is_changelog(text):
            found[source] = text
    return found


def _fix(upgrade: Upgrade, shared: dict[tuple[str, str], str]) -> Fix:
    source = source_of(upgrade.newer)
    # Entries carry versions of the source, which a rebuild of the binary alone does not change.
    news = news_since(shared.get(source, ""), source_of(upgrade.installed)[1])
    return Fix(
        package=upgrade.installed.name,
        source=source[0],
        installed=upgrade.installed.version,
        fixed_in=upgrade.newer.version,
        cves=news.cves if news else [],
        urgency=news.urgency if news else None,
        note=_note(news),
    )


def _note(news: News | None) -> str:
    if news is None:
        return NO_CHANGELOG
    return "" if news.complete else CUT_SHORT
