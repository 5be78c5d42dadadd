"""Run a program inside a root file system: it sees that tree and nothing else of the machine."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from fleetwide.providers import confine
from fleetwide.providers.progress import Progress, no_progress
from fleetwide.providers.sandbox import Finished, LineReader, run_isolated

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "PYTHONHASHSEED": "0",
}


def run_rooted(
    root: Path,
    command: Sequence[str],
    *,
    binds: Mapping[str, Path] | None = None,
    env: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
    read: LineReader = lambda _line: None,
) -> Finished:
    """Run ``command`` with ``root`` as ``/``, without a network, to its end.

    ``binds`` maps folders inside (relative, made when missing) to folders of the machine, which
    the program may write to. ``/proc`` is read-only, ``/dev`` holds five harmless nodes, ``/run``
    and ``/tmp`` are empty and forgotten afterwards. ``env`` is laid over ``ENVIRONMENT``. Whatever
    it starts ends with it, and what ``progress`` raises ends it and comes through.
    """
    return run_isolated(
        confined(root, command, binds or {}, env or {}),
        env=ENVIRONMENT,
        progress=progress,
        read=read,
        network=False,
    )


def confined(
    root: Path, command: Sequence[str], binds: Mapping[str, Path], env: Mapping[str, str]
) -> list[str]:
    """The words that run ``command`` inside ``root``, for a caller with namespaces of its own."""
    call = {
        "command": list(command),
        "binds": {inside: str(outside.absolute()) for inside, outside in binds.items()},
        "env": {**ENVIRONMENT, **env},
    }
    program = [sys.executable, "-I", str(Path(confine.__file__).absolute())]
    return [*program, str(root.absolute()), json.dumps(call)]
