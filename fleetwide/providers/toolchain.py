"""Which programs a builder builds with, for the provenance of what it built."""

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

PROGRAMS = ("mmdebstrap", "apt", "dpkg", "tar")
# What dpkg knows; written anew with every package that comes, changes or goes.
_STATUS = Path("/var/lib/dpkg/status")


def versions() -> dict[str, str]:
    """Program to version, as dpkg knows it; what is not a package here is left out."""
    changed = _STATUS.stat().st_mtime_ns if _STATUS.exists() else 0
    ours = {"fleetwide": version("fleetwide"), "python": platform.python_version()}
    return {**ours, **dict(_packaged(changed))}


@lru_cache(maxsize=1)
def _packaged(_changed: int) -> tuple[tuple[str, str], ...]:
    """Asked once for each state of the machine: starting a program takes longer than a document."""
    command = ["dpkg-query", "--show", "--showformat=${Package} ${Version}\\n", *PROGRAMS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (line.partition(" ") for line in done.stdout.splitlines())
    return tuple((name, number) for name, _, number in lines if number)
