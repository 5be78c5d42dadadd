"""One control group for all containers of an attempt: together they stay within its resources.

The Engine puts a container below the group that ``CgroupParent`` names. With its ``cgroupfs``
driver that is a folder, which is made and limited here beforehand. With its ``systemd`` driver it
is a slice, which systemd makes when the first container needs it; its limits are set beforehand as
properties. Sources: cgroup-v1 and cgroup-v2.rst of Linux, systemd.resource-control(5).
"""

import hashlib
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fleetwide.errors import DockerUnavailable

MOUNT = Path("/sys/fs/cgroup")
PERIOD_MICROSECONDS = 100_000
# The kernel takes no quota below a millisecond.
MIN_QUOTA_MICROSECONDS = 1000
SYSTEMCTL_SECONDS = 30
_CONTROLLERS = "+cpu +memory +pids"


@dataclass(frozen=True)
class Limits:
    """What all containers of an attempt may take together."""

    cpu_milli: int
    memory: int
    """Bytes; no swap beside them."""
    processes: int

    @property
    def quota(self) -> int:
        """Microseconds of processor time in each period."""
        return max(self.cpu_milli * PERIOD_MICROSECONDS // 1000, MIN_QUOTA_MICROSECONDS)


class CommonLimits(Protocol):
    """Groups of one host worker, by the names of attempts."""

    def ensure(self, name: str, limits: Limits) -> str:
        """Make the group, or find it; answers what the Engine calls it.

        Raises ``DockerUnavailable`` where this process may not.
        """
        raise NotImplementedError

    def remove(self, name: str) -> None:
        """Take the empty group away; one that is not there is fine."""


def common_limits(driver: str, owner: str, mount: Path = MOUNT) -> CommonLimits:
    """Groups as the Engine's cgroup ``driver`` wants them; ``owner`` tells host workers apart."""
    base = f"fleetwide-{hashlib.sha256(owner.encode()).hexdigest()[:12]}"
    return SliceLimits(base) if driver == "systemd" else FolderLimits(mount, base)


class FolderLimits:
    """Folders of the kernel's own interface, of either version."""

    def __init__(self, mount: Path, base: str) -> None:
        self._mount = mount
        self._base = base

    def ensure(self, name: str, limits: Limits) -> str:
        unified = (self._mount / "cgroup.controllers").exists()
        try:
            for folder, values in (_unified if unified else _by_controller)(self._mount, limits):
                self._make(folder, name, values, unified=unified)
        except OSError as error:
            raise DockerUnavailable(
                f"this host cannot hold several containers to one limit: {error.strerror} "
                f"below {self._mount}",
                hint="run the host worker as root, outside containers",
            ) from error
        return f"/{self._base}/{name}"

    def _make(
        self, root: Path, name: str, values: Mapping[str, int | str], *, unified: bool
    ) -> None:
        group = root / self._base / name
        group.mkdir(parents=True, exist_ok=True)
        if unified:
            for above in (root, root / self._base):
                (above / "cgroup.subtree_control").write_text(_CONTROLLERS)
        for file, value in values.items():
            # Kernels without accounting for swap do not have its file.
            if "sw" not in file or (group / file).exists():
                (group / file).write_text(str(value))

    def remove(self, name: str) -> None:
        # The Engine makes the folder below each controller, and takes away only its own.
        for root in (self._mount, *self._mount.glob("*")):
            for folder in (root / self._base / name, root / self._base):
                with suppress(OSError):
                    folder.rmdir()


def _by_controller(mount: Path, limits: Limits) -> Iterator[tuple[Path, dict[str, int | str]]]:
    yield (
        mount / "memory",
        {
            "memory.limit_in_bytes": limits.memory,
            "memory.memsw.limit_in_bytes": limits.memory,
        },
    )
    yield (
        mount / "cpu",
        {"cpu.cfs_period_us": PERIOD_MICROSECONDS, "cpu.cfs_quota_us": limits.quota},
    )
    yield mount / "pids", {"pids.max": limits.processes}


def _unified(mount: Path, limits: Limits) -> Iterator[tuple[Path, dict[str, int | str]]]:
    yield (
        mount,
        {
            "memory.max": limits.memory,
            "memory.swap.max": 0,
            "cpu.max": f"{limits.quota} {PERIOD_MICROSECONDS}",
            "pids.max": limits.processes,
        },
    )


class SliceLimits:
    """Slices of systemd, gone by themselves when their last container is."""

    def __init__(self, base: str, program: str = "systemctl") -> None:
        self._base = base
        self._program = program

    def ensure(self, name: str, limits: Limits) -> str:
        slice_name = self._slice(name)
        values = {
            "MemoryMax": limits.memory,
            "MemorySwapMax": 0,
            "CPUQuota": f"{max(limits.cpu_milli / 10, 1):g}%",
            "TasksMax": limits.processes,
        }
        pairs = [f"{key}={value}" for key, value in values.items()]
        said = self._run("set-property", "--runtime", slice_name, *pairs)
        if said is not None:
            raise DockerUnavailable(
                f"this host cannot hold several containers to one limit: {said}",
                hint="run the host worker as root",
            )
        return slice_name

    def remove(self, name: str) -> None:
        self._run("revert", self._slice(name))

    def _slice(self, name: str) -> str:
        # A dash in the name of a slice means: below. Only the owner's is meant so.
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        return f"{self._base}-{digest}.slice"

    def _run(self, *words: str) -> str | None:
        """None, or what systemctl complains of."""
        command = [self._program, *words]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SYSTEMCTL_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return None if done.returncode == 0 else done.stderr.strip()[:300]
