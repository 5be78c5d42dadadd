"""What a package's paragraph in the archive's index says (Debian Policy, chapters 5 and 7)."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from fleetwide.baseos.debversions import compare_versions
from fleetwide.models.os_locks import LockedPackage

_RELATION = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9+.-]*)(?::[a-z0-9-]+)?"
    r"\s*(?:\(\s*(?P<sign><<|<=|=|>=|>>|<|>)\s*(?P<version>[^\s)]+)\s*\))?"
)
# dpkg still reads the old single signs, as "or equal".
_SIGNS: dict[str, Callable[[int, int], bool]] = {
    "<<": operator.lt,
    "<=": operator.le,
    "<": operator.le,
    "=": operator.eq,
    ">": operator.ge,
    ">=": operator.ge,
    ">>": operator.gt,
}
_SOURCE = re.compile(r"(\S+)(?:\s+\(([^)\s]+)\))?")
_MAINTAINER = re.compile(r"\s*(.*?)\s*<([^<>]*)>\s*")


@dataclass(frozen=True)
class Relation:
    """One alternative of a dependency, or one provided name."""

    name: str
    sign: str = ""
    version: str = ""

    def accepts(self, version: str | None) -> bool:
        """Whether ``version`` will do; None is a name provided without any version."""
        if not self.sign:
            return True
        return version is not None and _SIGNS[self.sign](compare_versions(version, self.version), 0)


@dataclass(frozen=True)
class PackageFacts:
    """One locked package with the facts of its paragraph."""

    name: str
    version: str
    architecture: str
    source: str
    source_version: str
    maintainer: str
    maintainer_email: str
    homepage: str
    summary: str
    depends: tuple[tuple[Relation, ...], ...]
    """Pre-Depends and Depends: each entry needs one of its alternatives."""
    provides: tuple[Relation, ...]
    locked: LockedPackage


def parse_stanza(text: str) -> dict[str, str]:
    """Its fields by name in lower case; the lines of a folded field stay apart."""
    fields: dict[str, str] = {}
    name = ""
    # Not splitlines(): it also breaks at signs that may stand inside a value.
    for line in text.split("\n"):
        if line[:1] in (" ", "\t"):
            if name:
                fields[name] += "\n" + line.strip()
        elif ":" in line:
            head, _, value = line.partition(":")
            name = head.strip().lower()
            fields[name] = value.strip()
    return fields


def parse_relations(text: str) -> tuple[tuple[Relation, ...], ...]:
    """The entries of a relation field, each with its alternatives in order."""
    entries = (_alternatives(entry) for entry in text.split(","))
    return tuple(entry for entry in entries if entry)


def _alternatives(entry: str) -> tuple[Relation, ...]:
    found = (_RELATION.match(word.strip()) for word in entry.split("|"))
    return tuple(
        Relation(one["name"], one["sign"] or "", one["version"] or "") for one in found if one
    )


def source_of(package: LockedPackage) -> tuple[str, str]:
    """The source package and its version; a rebuild (``+b1``) has the version of its source."""
    return _source(parse_stanza(package.stanza).get("source", ""), package)


def _source(field: str, package: LockedPackage) -> tuple[str, str]:
    match = _SOURCE.match(field)
    if match is None:
        return package.name, package.version
    return match[1], match[2] or package.version


def facts_of(package: LockedPackage) -> PackageFacts:
    """All facts of one package."""
    fields = parse_stanza(package.stanza)
    source, source_version = _source(fields.get("source", ""), package)
    maintainer = _MAINTAINER.fullmatch(fields.get("maintainer", ""))
    needs = f"{fields.get('pre-depends', '')},{fields.get('depends', '')}"
    return PackageFacts(
        name=package.name,
        version=package.version,
        architecture=package.architecture,
        source=source,
        source_version=source_version,
        maintainer=maintainer[1] if maintainer else fields.get("maintainer", ""),
        maintainer_email=maintainer[2] if maintainer else "",
        homepage=fields.get("homepage", ""),
        summary=fields.get("description", "").split("\n")[0],
        depends=parse_relations(needs),
        provides=tuple(
            one for entry in parse_relations(fields.get("provides", "")) for one in entry
        ),
        locked=package,
    )


def dependency_edges(packages: list[PackageFacts]) -> dict[str, list[str]]:
    """For each package the names of those that satisfy its dependencies, ordered.

    Of each entry the first alternative counts that something installed satisfies: the package of
    that name before one that provides it. What nothing satisfies has no edge.
    """
    offers = _offers(packages)
    return {
        package.name: sorted(
            {
                found
                for entry in package.depends
                if (found := _first_offer(entry, offers)) not in (None, package.name)
            }
        )
        for package in packages
    }


Offer = tuple[str, str | None]


def _offers(packages: list[PackageFacts]) -> dict[str, list[Offer]]:
    """Under each name who offers it, and in which version; real packages first."""
    ordered = sorted(packages, key=lambda package: package.name)
    offers: dict[str, list[Offer]] = {one.name: [(one.name, one.version)] for one in ordered}
    for package in ordered:
        for provided in package.provides:
            offer = (package.name, provided.version or None)
            offers.setdefault(provided.name, []).append(offer)
    return offers


def _first_offer(entry: tuple[Relation, ...], offers: dict[str, list[Offer]]) -> str | None:
    fitting = (
        name
        for alternative in entry
        for name, version in offers.get(alternative.name, [])
        if alternative.accepts(version)
    )
    return next(fitting, None)
