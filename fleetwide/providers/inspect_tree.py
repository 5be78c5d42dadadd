"""Check a finished root file system before anything is made of it; the tree is not changed."""

import json
import os
import stat
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetwide.baseos.checks import (
    DPKG_STATUS,
    READ_FILES,
    Entry,
    check_boot_files,
    check_device_nodes,
    check_machine_state,
    check_packages,
    check_setuid,
    check_world_writable,
    result,
    shown,
)
from fleetwide.baseos.leaks import find_leaks, is_scanned
from fleetwide.baseos.verdicts import command_failure
from fleetwide.errors import PlatformError
from fleetwide.models.baseos import CommandTest, Target
from fleetwide.models.os_releases import StaticReport
from fleetwide.providers import confine
from fleetwide.providers.layers import walk
from fleetwide.providers.progress import Progress, Throttled, span
from fleetwide.providers.rooted import ENVIRONMENT
from fleetwide.providers.sandbox import Finished, run_isolated

WALK_SHARE = 0.5
TOLD_LINES = 8
NO_OVERLAY = 121
"""Exit code that tells the builder's own failure from a program's."""
SCRATCH_SIZE = "512m"
"""What programs run for a check may write before they get "No space left on device"."""

# The changes lie in memory of this mount namespace alone and are gone with it.
_OVERLAY = f"""
{{
  mount -t tmpfs -o size={SCRATCH_SIZE},mode=0755 tmpfs "$2" && cd "$2" &&
  mkdir tree upper work merged && mount --bind "$1" tree &&
  mount -t overlay overlay -o lowerdir=tree,upperdir=upper,workdir=work merged
}} || exit {NO_OVERLAY}
exec "$3" -I "$4" "$2/merged" "$5"
"""


@dataclass(frozen=True)
class InspectRequest:
    """What a tree must be."""

    target: Target
    expected: Mapping[str, str]
    """Package to version: the lock's, no more and no less."""
    setuid_allowed: Sequence[str] = ()
    """Absolute paths of further setuid and setgid files."""
    commands: Sequence[CommandTest] = ()


@dataclass(frozen=True)
class _Seen:
    """What one walk over a tree found."""

    entries: list[Entry]
    leaks: list[str]
    texts: dict[str, str]


def inspect_tree(tree: Path, request: InspectRequest, progress: Progress) -> StaticReport:
    """All checks of ``tree``, a folder with the owners and modes of the image.

    Symbolic links are never followed. Programs of the tree see it alone, without a network, and
    what they write is forgotten. What ``progress`` raises ends them and comes through.
    """
    started = time.monotonic()
    seen = _look(tree, Throttled(span(progress, 0.0, WALK_SHARE)))
    entries, texts = seen.entries, seen.texts
    later = span(progress, WALK_SHARE, 1.0)
    checks = [
        check_packages(texts.get(DPKG_STATUS), request.expected),
        result("dependencies", _dependencies(tree, entries, later)),
        check_setuid(entries, request.setuid_allowed),
        check_world_writable(entries),
        result("secrets", seen.leaks),
        check_machine_state(entries, texts, request.target),
        check_device_nodes(entries),
        check_boot_files(entries, request.target),
        result("commands", _commands(tree, request.commands, later)),
    ]
    return StaticReport(checks=checks, seconds=round(time.monotonic() - started, 3))


def _look(tree: Path, progress: Progress) -> _Seen:
    seen = _Seen([], [], {})
    for path, found in walk(tree):
        progress("looking at the files", None)
        status = found.stat(follow_symlinks=False)
        seen.entries.append(Entry(path, status.st_mode, status.st_size))
        if not stat.S_ISREG(status.st_mode):
            continue
        if path in READ_FILES or is_scanned(path, status.st_size):
            content = _read(Path(found.path))
            if path in READ_FILES:
                seen.texts[path] = content.decode(errors="replace")
            seen.leaks.extend(f"{shown(path)} {leak}" for leak in find_leaks(path, content))
    return seen


def _read(path: Path) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as reader:
        return reader.read()


def _dependencies(tree: Path, entries: Sequence[Entry], progress: Progress) -> list[str]:
    """What dpkg and apt of the tree themselves say; either may be missing."""
    paths = {entry.path for entry in entries}
    found = []
    for program, argument in (("dpkg", "--audit"), ("apt-get", "check")):
        if f"usr/bin/{program}" not in paths:
            continue
        finished = _run(tree, [program, argument], progress)
        if finished.returncode != 0 or (program == "dpkg" and finished.lines):
            said = " / ".join(line.strip() for line in finished.lines[-TOLD_LINES:])
            found.append(f"{program} {argument} says: {said}")
    return found


def _commands(tree: Path, commands: Sequence[CommandTest], progress: Progress) -> list[str]:
    found = []
    for test in commands:
        finished = _run(tree, ["/bin/sh", "-c", test.run], progress)
        if finished.returncode != 0:
            found.append(command_failure(test.name, str(finished.returncode), finished.lines))
    return found


def _run(tree: Path, command: Sequence[str], progress: Progress) -> Finished:
    """Run ``command`` on the tree as ``rooted.run_rooted`` does, but forget what it writes."""
    call = json.dumps({"command": list(command), "binds": {}, "env": ENVIRONMENT})
    with tempfile.TemporaryDirectory(prefix=".inspect-", dir=tree.absolute().parent) as scratch:
        program = [sys.executable, str(Path(confine.__file__).absolute()), call]
        finished = run_isolated(
            ["sh", "-c", _OVERLAY, "sh", str(tree.absolute()), scratch, *program],
            env=ENVIRONMENT,
            progress=lambda _phrase, _fraction: progress(f"running {' '.join(command)}"[:60], None),
            read=lambda _line: None,
            network=False,
        )
    if finished.returncode == NO_OVERLAY:
        raise PlatformError(f"the builder cannot mount an overlay: {' '.join(finished.lines)}")
    return finished
