"""What the deb path removes from a layer, and how dpkg's words are read."""

import re
from fnmatch import fnmatchcase

from fleetwide.errors import ArtifactRejected, DependencyUnsatisfied, InstallFailed

TOLD_LINES = 20
# Two generations of dpkg: "script subprocess returned error", "subprocess installed ... script".
_SCRIPT_FAILED = re.compile(
    r"script subprocess (returned|was killed|failed)|subprocess .*script (returned|was killed)"
)
_UNSATISFIED = re.compile(r"dependency problem|pre-dependency|depends on|breaks|conflict")
_COMPLAINT = re.compile(
    r"depends on|not installed|not configured|error|conflict|breaks|does not match|unable to"
)

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


def dpkg_failure(lines: list[str]) -> InstallFailed | DependencyUnsatisfied | ArtifactRejected:
    """The error that dpkg's last lines of output tell of, in dpkg's own words."""
    if any(_SCRIPT_FAILED.search(line) for line in lines):
        words = "\n".join(lines[-TOLD_LINES:])
        return InstallFailed(
            f"an install script of the package failed; its last lines:\n{words}",
            hint="dpkg-deb --control <package>.deb scripts && less scripts/postinst",
        )
    telling = [line.strip() for line in lines if _COMPLAINT.search(line)]
    words = "\n".join(telling[:TOLD_LINES] or lines[-TOLD_LINES:])
    if any(_UNSATISFIED.search(line) for line in lines):
        return DependencyUnsatisfied(
            f"dpkg could not install the package:\n{words}",
            hint="bake with `refresh: true` to resolve the dependencies anew",
        )
    return ArtifactRejected(f"dpkg could not install the package:\n{words}")
