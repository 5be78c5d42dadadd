"""Which programs a builder builds with, for the provenance of what it built."""

import platform
import subprocess
from importlib.metadata import version

PROGRAMS = ("mmdebstrap", "apt", "dpkg", "tar")


def versions() -> dict[str, str]:
    """Program to version, as dpkg knows it; what is not a package here is left out."""
    command = ["dpkg-query", "--show", "--showformat=${Package} ${Version}\\n", *PROGRAMS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    found = {name: number for name, number in lines if number}
    return {"fleetwide": version("fleetwide"), "python": platform.python_version(), **found}
