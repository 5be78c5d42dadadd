"""What apt says when packages cannot be installed together."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

_UNMET = re.compile(
    r"^\s+(?P<package>[a-z0-9][a-z0-9+.-]*)(?::\S+)? : "
    r"(?P<relation>Pre-Depends|Depends|Conflicts|Breaks): (?P<wanted>[^\s|]+(?: \([^)]*\))?)"
    r"(?: but (?P<instead>.*))?$"
)
_REMOVED = re.compile(r"^The following packages will be REMOVED:\n((?: +.*\n)*)", re.MULTILINE)
_FURTHER = re.compile(r"^\s+(?P<relation>Pre-Depends|Depends|Conflicts|Breaks): ")
_DOWNLOAD = re.compile(
    r"^'([^']+)' ([^ _]+)_([^ _]+)_([^ _]+)\.deb (\d+) SHA256:([0-9a-f]{64})$", re.MULTILINE
)


@dataclass(frozen=True)
class Unmet:
    """One relation that apt could not satisfy."""

    package: str
    relation: str
    wanted: str
    """A name, with the versions that would do where there is such a limit."""
    instead: str
    """In apt's words, what stands in the way."""

    @property
    def name(self) -> str:
        """The package that is wanted."""
        return re.split(r"[ :(]", self.wanted, maxsplit=1)[0]


def unmet_relations(output: str) -> list[Unmet]:
    """The relations in apt's table of unmet dependencies, in its order."""
    found: list[Unmet] = []
    for line in output.splitlines():
        # apt tells a package's name once, and then only further relations of it.
        further = _FURTHER.match(line)
        whole = f" {found[-1].package} : {line.strip()}" if further and found else line
        match = _UNMET.match(whole)
        if match:
            found.append(
                Unmet(
                    match["package"],
                    match["relation"],
                    match["wanted"],
                    (match["instead"] or "").strip(),
                )
            )
    return found


def removed_packages(output: str) -> list[str]:
    """The installed packages that apt would have to remove."""
    found = _REMOVED.search(f"{output}\n")
    return [word.rstrip("*") for word in found[1].split()] if found else []


@dataclass(frozen=True)
class Download:
    """One package that an installation would fetch."""

    name: str
    version: str
    architecture: str
    url: str
    size: int
    """Bytes."""
    sha256: str


def parse_downloads(output: str) -> list[Download]:
    """The packages that ``apt-get install --print-uris`` lists.

    Files at hand are not among them. apt writes what is awkward in a file name, such as the colon
    of an epoch, as ``%3a``.
    """
    found = []
    for match in _DOWNLOAD.finditer(output):
        url, name, version, architecture, size, sha256 = match.groups()
        found.append(
            Download(unquote(name), unquote(version), architecture, url, int(size), sha256)
        )
    return found
