"""Which distribution packages a bake needs beyond its base: apt is asked, within its lock."""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TypeVar

from fleetwide.bakery.apt_words import Download, Unmet, removed_packages, unmet_relations
from fleetwide.bakery.debs import Control, Need, installed_controls, unmet_needs
from fleetwide.baseos.locks import lock_digest
from fleetwide.errors import DependencyUnsatisfied, InvalidInput
from fleetwide.models.bakes import BaseImage, Dependency, DependencyKind
from fleetwide.models.baseos import Architecture
from fleetwide.models.os_locks import Lock
from fleetwide.providers.apt import AptArchive, Unsolvable
from fleetwide.providers.debs import Deb
from fleetwide.providers.progress import Progress, meanwhile, span
from fleetwide.providers.root_tree import RootTree
from fleetwide.registry.digests import canonical_json, digest_of, hex_of

INIT_PACKAGE = "tini"
TOLD_NEEDS = 10
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class DebRequest:
    """What is to be installed onto which base."""

    base: BaseImage
    root: Path
    """The unpacked base."""
    debs: Sequence[Deb]
    names: Sequence[str]
    """Further packages by name."""
    lock: Lock | None
    folder: Path
    """Where apt's indexes are kept."""


def resolve_debs(request: DebRequest, progress: Progress) -> list[Dependency]:
    """The packages to install beside ``request.debs``, ordered by name, to the byte.

    Packages of the base keep their versions, and none is removed. When the base and the debs
    themselves have all that is needed, nobody is asked.

    Raises:
        DependencyUnsatisfied: something cannot be had; names what, for whom, against which lock.
        PlatformError: an archive of the lock does not answer.
    """
    with RootTree(request.root) as files:
        status = files.text("/var/lib/dpkg/status")
    installed = installed_controls(status)
    controls = [deb.control for deb in request.debs]
    needs = unmet_needs(controls, installed)
    present = {*installed, *(one.name for one in controls)}
    names = sorted(set(request.names) - present)
    if not needs and not names:
        return []
    if request.lock is None:
        raise _without_lock(request.base, needs, names)
    question = _Question(request, request.lock, installed, needs, names)
    archive = _archive(request.folder, request.base, request.lock)
    with archive.held(progress, status):
        replaced = {one.name for one in controls}
        archive.hold({name: one.version for name, one in installed.items() if name not in replaced})
        archive.update(span(progress, 0.0, 0.6))
        return _ask(archive, question, span(progress, 0.6, 1.0))


@dataclass(frozen=True)
class _Question:
    request: DebRequest
    lock: Lock
    installed: Mapping[str, Control]
    needs: Sequence[Need]
    names: Sequence[str]

    @property
    def against(self) -> str:
        """The base and its lock, for people."""
        base = self.request.base
        return f"{base.name}:{base.version} (lock {hex_of(lock_digest(self.lock))[:12]})"


def _archive(folder: Path, base: BaseImage, lock: Lock) -> AptArchive:
    places = [source.model_dump(mode="json") for source in lock.sources]
    name = hex_of(digest_of(canonical_json([base.architecture, places])))[:16]
    # Apart from the folders of OS builds: an index that is being read must not be swapped.
    return AptArchive(folder / f"bakes-{name}", Architecture(base.architecture), lock.sources)


def _ask(archive: AptArchive, question: _Question, progress: Progress) -> list[Dependency]:
    own = {deb.control.name for deb in question.request.debs}
    try:
        with _as_debs(question.request.debs) as paths:
            found = _meanwhile(progress, partial(archive.downloads, [*paths, *question.names]))
    except Unsolvable as error:
        raise _unsatisfied(archive, question, error) from error
    except InvalidInput as error:
        raise DependencyUnsatisfied(
            f"{error.message}, against {question.against}", hint=error.hint
        ) from error
    foreign = [one for one in found if one.name not in own]
    return [_dependency(one) for one in sorted(foreign, key=lambda one: one.name)]


@contextmanager
def _as_debs(debs: Sequence[Deb]) -> Iterator[list[str]]:
    """Paths of the debs by which apt knows them for such: people call them anything."""
    with tempfile.TemporaryDirectory(prefix="fleetwide-debs-") as folder:
        paths = [Path(folder, f"{number}.deb") for number in range(len(debs))]
        for deb, path in zip(debs, paths, strict=True):
            path.symlink_to(deb.path.absolute())
        yield list(map(str, paths))


def _meanwhile(progress: Progress, call: Callable[[], Answer]) -> Answer:
    answers: list[Answer] = []
    meanwhile(progress, "resolving packages", lambda: answers.append(call()))
    return answers[0]


def _dependency(found: Download) -> Dependency:
    plain = re.sub(r"[^A-Za-z0-9.+~_-]", "_", f"{found.name}_{found.version}_{found.architecture}")
    return Dependency(
        kind=DependencyKind.DEB,
        name=found.name,
        version=found.version,
        filename=f"{plain}.deb",
        sha256=found.sha256,
        size=found.size,
        url=found.url,
    )


def _without_lock(
    base: BaseImage, needs: Sequence[Need], names: Sequence[str]
) -> DependencyUnsatisfied:
    missing = [*(f"{need.package} needs {need}" for need in needs), *names]
    return DependencyUnsatisfied(
        f"{base.name}:{base.version} has no lock whose archives could be asked for: "
        f"{'; '.join(missing[:TOLD_NEEDS])}",
        hint="add the missing packages to `artifacts`, or to `packages` of the OS image",
    )


def _unsatisfied(
    archive: AptArchive, question: _Question, error: Unsolvable
) -> DependencyUnsatisfied:
    """In our words where apt's table can be read, with what there is instead of what is wanted."""
    unmet = unmet_relations(error.output)
    known = archive.names() if unmet else set()
    told = [_told(one, archive, question, known) for one in unmet[:TOLD_NEEDS]]
    removed = removed_packages(error.output)
    if removed:
        told.append(
            f"{_asked(question)} cannot be installed beside {', '.join(removed)} of the base"
        )
    if not told:
        told = [line for line in error.output.splitlines() if line.startswith("E: ")]
    return DependencyUnsatisfied(
        f"against {question.against}: {'; '.join(told) or error.message}",
        hint="add the missing packages to `artifacts`, or bake onto a newer release of the base",
    )


def _asked(question: _Question) -> str:
    """What the missing packages are, and whose dependencies they are."""
    needs = [f"{need} (which {need.package} needs)" for need in question.needs]
    return ", ".join([*needs, *question.names])


def _told(unmet: Unmet, archive: AptArchive, question: _Question, known: set[str]) -> str:
    debs = {deb.control.name: deb for deb in question.request.debs}
    whose = (
        f"{debs[unmet.package].name}: {unmet.package}" if unmet.package in debs else unmet.package
    )
    verb = {"Conflicts": "conflicts with", "Breaks": "breaks"}.get(unmet.relation, "needs")
    there = [f"the base has {one.version}" for one in _installed(question, unmet.name)]
    versions = archive.versions(unmet.name)
    if versions:
        there.append(f"the archives have {', '.join(versions[:3])}")
    elif not there:
        near = get_close_matches(unmet.name, known, n=1, cutoff=0.7)
        there.append("no archive has it" + (f", the nearest is {near[0]}" if near else ""))
    return f"{whose} {verb} {unmet.wanted} ({'; '.join(there)})"


def _installed(question: _Question, name: str) -> list[Control]:
    found = question.installed.get(name)
    return [] if found is None else [found]
