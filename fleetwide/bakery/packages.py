"""What the deb path removes from a layer, and how dpkg's words are read."""

import re
from fnmatch import fnmatchcase

# Mounted over while packages install, or empty at every start: nothing of them is kept.
TRANSIENT_TREES = ("dev/*", "proc/*", "sys/*", "run/*", "tmp/*", "var/tmp/*", ".fleetwide*")
# Locks, caches, logs and backups differ from run to run. Their folders stay: programs need them.
TRANSIENT_FILES = (
    "var/log/*",
    "var/cache/apt/*",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/*",
    "var/lib/apt/lists/*",
    "var/lib/dpkg/lock*",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/triggers/Lock",
    "var/lib/dpkg/updates/*",
    "var/lib/systemd/random-seed",
    "etc/.pwd.lock",
)
BACKUPS = frozenset(
    f"etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
)


def is_transient(path: str, *, folder: bool) -> bool:
    """Whether ``path`` (relative, no leading slash) must not enter a layer."""
    patterns = TRANSIENT_TREES if folder else (*TRANSIENT_TREES, *TRANSIENT_FILES)
    return path in BACKUPS or any(fnmatchcase(path, pattern) for pattern in patterns)


def dpkg_complaints(lines: list[str]) -> str:
    """Answer dpkg's own words about what went wrong; all lines when it says nothing of the kind."""
    telling = [
        line.strip()
        for line in lines
        if re.search(
            r"depends on|not installed|not configured|error|conflict|breaks|does not match", line
        )
    ]
    return "\n".join(telling[:20] or lines[-20:])
