"""Look local artifacts over by the bakery policy, without a platform and without the base."""

import stat
from collections.abc import Iterator, Sequence

from fleetwide.bakery.lint_subject import Leak, LintSubject
from fleetwide.bakery.oci_runtime import SEARCH_PATH
from fleetwide.bakery.programs import Node, Program, candidates, find_file
from fleetwide.baseos.checks import Entry
from fleetwide.baseos.leaks import find_leaks, is_scanned
from fleetwide.models.bakery import ArtifactType, BakeSpec
from fleetwide.providers.local_artifacts import (
    Listed,
    LocalArtifact,
    list_artifact,
    packages_of,
)
from fleetwide.providers.progress import Progress, Throttled

# What a build makes of these is not known before.
_BUILT_LATER = frozenset({ArtifactType.SDIST})


def read_local_subject(
    spec: BakeSpec, artifacts: Sequence[LocalArtifact], progress: Progress
) -> LintSubject:
    """What can be told of an image before it is baked: no base, no sizes, no dependencies.

    Raises:
        ArtifactRejected: an artifact would be refused however the policy is.
        PlatformError: a program that reads an artifact is missing.
    """
    told = Throttled(progress)
    entries: dict[str, Entry] = {}
    nodes: dict[str, Node] = {}
    leaks: list[Leak] = []
    packages: dict[str, str] = {}
    for artifact in artifacts:
        packages |= packages_of(artifact)
        for one in list_artifact(artifact):
            told(f"looking at {artifact.path.name}", None)
            leaks += _leaks(one)
            if artifact.kind not in _BUILT_LATER:
                entries[one.path] = Entry(one.path, one.mode, one.size)
                nodes[one.path] = Node(one.mode, link=one.link)
    return LintSubject(
        spec=spec,
        entries=list(entries.values()),
        leaks=leaks,
        packages=packages,
        program=_program(spec, _with_parents(nodes)),
    )


def _leaks(one: Listed) -> Iterator[Leak]:
    if stat.S_ISREG(one.mode) and is_scanned(one.path, one.size):
        yield from (Leak(one.path, sentence) for sentence in find_leaks(one.path, one.content))


def _with_parents(nodes: dict[str, Node]) -> dict[str, Node]:
    """Archives need not list the folders that their files lie in."""
    folders: dict[str, Node] = {}
    for path in nodes:
        parent = path.rpartition("/")[0]
        while parent and parent not in folders:
            folders[parent] = Node(stat.S_IFDIR | 0o755)
            parent = parent.rpartition("/")[0]
    return folders | nodes


def _program(spec: BakeSpec, nodes: dict[str, Node]) -> Program | None:
    """The program that is started; None where only the base could tell."""
    words = [*spec.entrypoint, *spec.command]
    if not words:
        return None
    paths = candidates(words[0], spec.workdir, {"PATH": SEARCH_PATH, **spec.env})
    found = find_file(paths, nodes.get)
    if found is not None:
        runnable = nodes[found].mode & stat.S_IXOTH
        return Program(words[0], found, obstacle="" if runnable else f"may not execute /{found}")
    own = f"/opt/{spec.name}/"
    belongs_to_artifacts = bool(nodes) and all(path.startswith(own) for path in paths)
    return Program(words[0]) if belongs_to_artifacts else None
