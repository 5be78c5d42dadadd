"""What debs need, judged by their control files and by what a base has installed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleetwide.baseos.control_files import paragraphs
from fleetwide.baseos.stanzas import Relation, parse_relations, parse_stanza
from fleetwide.errors import ArtifactRejected, WrongArchitecture

ANY_ARCHITECTURE = "all"
Entry = tuple[Relation, ...]
"""One entry of a relation field: any of its alternatives will do."""


@dataclass(frozen=True)
class Control:
    """One package: what its control file, or its paragraph in dpkg's status, says."""

    name: str
    version: str
    architecture: str
    pre_depends: tuple[Entry, ...]
    depends: tuple[Entry, ...]
    provides: tuple[Relation, ...]


@dataclass(frozen=True)
class Need:
    """A dependency that nothing at hand satisfies."""

    package: str
    """Whose dependency it is, as ``name version``."""
    entry: Entry

    def __str__(self) -> str:
        return " | ".join(map(str_of, self.entry))


def str_of(relation: Relation) -> str:
    """A relation as control files write it."""
    return (
        f"{relation.name} ({relation.sign} {relation.version})" if relation.sign else relation.name
    )


def parse_control(text: str) -> Control:
    """Read a control file.

    Raises:
        ArtifactRejected: a field without which there is no package is missing.
    """
    fields = parse_stanza(text)
    missing = [name for name in ("package", "version", "architecture") if not fields.get(name)]
    if missing:
        raise ArtifactRejected(f"its control file has no {', '.join(map(str.title, missing))}")
    return Control(
        name=fields["package"],
        version=fields["version"],
        architecture=fields["architecture"],
        pre_depends=parse_relations(fields.get("pre-depends", "")),
        depends=parse_relations(fields.get("depends", "")),
        provides=tuple(
            one for entry in parse_relations(fields.get("provides", "")) for one in entry
        ),
    )


def installed_controls(status: str) -> dict[str, Control]:
    """The installed packages of dpkg's status file, by name."""
    found = {}
    for paragraph in paragraphs(status):
        if parse_stanza(paragraph).get("status", "").endswith(" installed"):
            control = parse_control(paragraph)
            found[control.name] = control
    return found


def check_architecture(control: Control, name: str, architecture: str) -> None:
    """Refuse a deb for other machines; ``name`` is the file's.

    Raises:
        WrongArchitecture: it is for neither all machines nor those of ``architecture``.
    """
    if control.architecture not in (ANY_ARCHITECTURE, architecture):
        raise WrongArchitecture(
            f"{name} is built for {control.architecture}, the base is {architecture}"
        )


def unmet_needs(debs: Sequence[Control], installed: Mapping[str, Control]) -> list[Need]:
    """What ``debs`` depend on that neither they themselves nor ``installed`` packages satisfy."""
    present = {**installed, **{deb.name: deb for deb in debs}}
    offers = _offers(present.values())
    return [
        Need(f"{deb.name} {deb.version}", entry)
        for deb in debs
        for entry in (*deb.pre_depends, *deb.depends)
        if not _is_met(entry, offers)
    ]


def _offers(packages: Iterable[Control]) -> dict[str, list[str | None]]:
    """Under each name the versions in which it is offered; None where a version is not told."""
    offers: dict[str, list[str | None]] = {}
    for package in packages:
        offers.setdefault(package.name, []).append(package.version)
        for provided in package.provides:
            offers.setdefault(provided.name, []).append(provided.version or None)
    return offers


def _is_met(entry: Entry, offers: Mapping[str, list[str | None]]) -> bool:
    return any(
        alternative.accepts(version)
        for alternative in entry
        for version in offers.get(alternative.name, [])
    )


def install_batches(debs: Sequence[Control]) -> list[list[int]]:
    """Numbers of ``debs`` in the batches that dpkg has to install one after the other.

    dpkg configures what one depends on before it, but what one pre-depends on must have been
    configured, with all that it needs itself, before one is even unpacked. Debs that pre-depend on
    each other in a circle come last, together, and dpkg refuses them.
    """
    by_name = {deb.name: number for number, deb in enumerate(debs)}
    before = [_among(deb.pre_depends, by_name) - {number} for number, deb in enumerate(debs)]
    needs = [_among(deb.depends, by_name) | early for deb, early in zip(debs, before, strict=True)]
    waiting = list(range(len(debs)))
    batches = []
    while waiting:
        blocked = {number for number in waiting if before[number] & set(waiting)}
        ready = [one for one in waiting if not blocked & _closure(one, needs)] or waiting
        batches.append(ready)
        waiting = [one for one in waiting if one not in set(ready)]
    return batches


def _among(entries: Iterable[Entry], by_name: Mapping[str, int]) -> set[int]:
    return {by_name[one.name] for entry in entries for one in entry if one.name in by_name}


def _closure(start: int, needs: Sequence[set[int]]) -> set[int]:
    """``start`` and all that it leads to."""
    seen, waiting = {start}, [start]
    while waiting:
        further = needs[waiting.pop()] - seen
        seen |= further
        waiting += further
    return seen
