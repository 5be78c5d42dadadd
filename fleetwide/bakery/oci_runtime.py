"""The OCI runtime configuration of a smoke test: what a container of the image may and may not do.

Processes start as a container engine would start them, but with less: no capability, no network
but a loopback, nothing to write to but memory of limited size. Source: the OCI runtime
specification 1.0; the masked and read-only paths are those of Docker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from fleetwide.bakery.container_users import ContainerUser
from fleetwide.models.bakery import BakeSpec

HOSTNAME = "smoke"
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SCRATCH_BYTES = 256 * 1024**2
"""What may be written to each of /tmp, /run and the volumes, which lie in memory."""
HOSTS = f"127.0.0.1 localhost {HOSTNAME}\n::1 localhost ip6-localhost ip6-loopback\n"
_SAFE = ("nosuid", "noexec", "nodev")
_DEVICES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("/proc", "proc", _SAFE),
    ("/dev", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    ("/dev/pts", "devpts", ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")),
    ("/dev/shm", "tmpfs", (*_SAFE, "mode=1777", "size=65536k")),  # noqa: S108 - in the container
    ("/dev/mqueue", "mqueue", _SAFE),
    ("/sys", "sysfs", (*_SAFE, "ro")),
)
_MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys"),
    *("/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list"),
    *("/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware"),
)
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
_NAMESPACES = ("pid", "network", "ipc", "uts", "mount", "cgroup")


@dataclass(frozen=True)
class StartedAs:
    """What every process of the container shares."""

    user: ContainerUser
    env: Mapping[str, str]
    workdir: str


def oci_process(words: Sequence[str], started: StartedAs) -> dict[str, Any]:
    """One process of the container."""
    user = started.user
    defaults = {"PATH": SEARCH_PATH, "HOME": user.home, "HOSTNAME": HOSTNAME}
    return {
        "terminal": False,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": list(words),
        "env": [f"{name}={value}" for name, value in {**defaults, **started.env}.items()],
        "cwd": started.workdir,
        "noNewPrivileges": True,
        "capabilities": {name: [] for name in _CAPABILITY_SETS},
        "rlimits": [{"type": "RLIMIT_CORE", "hard": 0, "soft": 0}],
    }


def oci_config(spec: BakeSpec, process: Mapping[str, Any], root: str, hosts: str) -> dict[str, Any]:
    """The whole container; ``root`` is its root file system, ``hosts`` a file for /etc/hosts."""
    return {
        "ociVersion": "1.0.0",
        "process": dict(process),
        "root": {"path": root, "readonly": not spec.smoke.writable},
        "hostname": HOSTNAME,
        "mounts": [
            *(_mount(place, kind, *options) for place, kind, options in _DEVICES),
            *(_scratch(place) for place in scratch_places(spec.volumes)),
            {**_mount("/etc/hosts", "bind", "bind", "ro", *_SAFE), "source": hosts},
        ],
        "linux": {
            "namespaces": [{"type": name} for name in _NAMESPACES],
            # As Docker sets them: users may take ports below 1024 and ping.
            "sysctl": {
                "net.ipv4.ip_unprivileged_port_start": "0",
                "net.ipv4.ping_group_range": "0 2147483647",
            },
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        },
    }


def scratch_places(volumes: Sequence[str]) -> list[str]:
    """The folders that can be written to; what lies inside another comes after it."""
    return sorted({"/tmp", "/run", *volumes}, key=lambda path: PurePosixPath(path).parts)  # noqa: S108


def _scratch(place: str) -> dict[str, Any]:
    options = ["nosuid", "nodev", "mode=1777", f"size={SCRATCH_BYTES}"]
    # As with an engine's volumes, what the image has there is there.
    return _mount(place, "tmpfs", *options, "tmpcopyup")


def _mount(place: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": place, "type": kind, "source": kind, "options": list(options)}
