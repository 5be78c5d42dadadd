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
    call = {
        "command": list(command),
        "binds": {inside: str(outside.absolute()) for inside, outside in (binds or {}).items()},
        "env": {**ENVIRONMENT, **(env or {})},
    }
    program = [sys.executable, "-I", str(Path(confine.__file__).absolute())]
    return run_isolated(
        [*program, str(root.absolute()), json.dumps(call)],
        env=ENVIRONMENT,
        progress=progress,
        read=read,
        network=False,
    )
