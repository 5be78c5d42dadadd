"""Debian changelogs: which entries are newer than what is installed, and the CVEs they name."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fleetwide.baseos.debversions import compare_versions

URGENCIES = ("low", "medium", "high", "emergency", "critical")
_HEADER = re.compile(
    r"^(?P<source>[A-Za-z0-9][A-Za-z0-9+.-]*) \((?P<version>[^\s()]+)\)[^;\n]*;(?P<keys>.*)$",
    re.MULTILINE,
)
_URGENCY = re.compile(r"\burgency\s*=\s*([a-z]+)", re.IGNORECASE)
_CVE = re.compile(r"\bCVE-[0-9]{4}-[0-9]{4,19}\b", re.IGNORECASE)


@dataclass(frozen=True)
class ChangelogEntry:
    """One version's entry; ``version`` is that of the source package."""

    source: str
    version: str
    urgency: str
    body: str

    @property
    def cves(self) -> set[str]:
        return {found.upper() for found in _CVE.findall(self.body)}


@dataclass(frozen=True)
class News:
    """What a changelog tells beyond an installed version."""

    entries: tuple[ChangelogEntry, ...]
    complete: bool
    """It reaches back to the installed version, so no entry in between is missing."""

    @property
    def cves(self) -> list[str]:
        """By year and number."""
        found = {cve for entry in self.entries for cve in entry.cves}
        return sorted(found, key=_cve_order)

    @property
    def urgency(self) -> str | None:
        """The highest of all entries; None when none names a known one."""
        known = [entry.urgency for entry in self.entries if entry.urgency in URGENCIES]
        return max(known, key=URGENCIES.index, default=None)


def _cve_order(cve: str) -> tuple[int, int]:
    _, year, number = cve.split("-")
    return int(year), int(number)


def parse_changelog(text: str) -> Iterator[ChangelogEntry]:
    """The entries in their order; none when the text is no Debian changelog."""
    headers = list(_HEADER.finditer(text))
    starts = [header.start() for header in headers]
    for header, end in zip(headers, [*starts[1:], len(text)], strict=False):
        urgency = _URGENCY.search(header["keys"])
        yield ChangelogEntry(
            source=header["source"],
            version=header["version"],
            urgency=urgency[1].lower() if urgency else "",
            body=text[header.end() : end],
        )


def is_changelog(text: str) -> bool:
    """Whether ``text`` is in Debian's format, as far as one entry tells."""
    return _HEADER.search(text) is not None


def news_since(text: str, installed: str) -> News | None:
    """The entries newer than source version ``installed``; None when the text has no entries."""
    entries = list(parse_changelog(text))
    if not entries:
        return None
    newer = [entry for entry in entries if compare_versions(entry.version, installed) > 0]
    return News(tuple(newer), complete=len(newer) < len(entries))
