"""What this machine has, asked of the machine itself: disk, link, GPUs, where it stands."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from socket import SOCK_DGRAM, getaddrinfo, socket
from typing import Any

from fleetwide.containers.offers import Kept, device_ids, disk_offer, reserve_of
from fleetwide.errors import PlatformError
from fleetwide.models.hosts import HostFacts
from fleetwide.providers.ec2_instance import METADATA_URL, this_instance
from fleetwide.providers.network_limits import network_limits
from fleetwide.settings import Settings

PROGRAM_SECONDS = 20
VENDOR = Path("/sys/class/dmi/id/sys_vendor")
CPU_INFO = Path("/proc/cpuinfo")
ROUTES = Path("/proc/net/route")
MOUNTS = Path("/proc/self/mounts")
LINKS = Path("/sys/class/net")
NODES = Path("/dev")
QUOTA_DRIVERS = frozenset({"btrfs", "zfs"})
QUOTA_OPTIONS = frozenset({"prjquota", "pquota"})


class Machine:
    """Completes what Docker says of a host by what the machine says."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def complete(self, facts: HostFacts, info: Mapping[str, Any], written: int) -> HostFacts:
        """``info`` is Docker's own; ``written`` the bytes of this platform's containers."""
        disk, free = file_system(str(info.get("DockerRootDir", "")))
        network = link_speed()
        settings = self._settings
        kept = Kept(
            settings.host_reserve_cpu,
            settings.host_reserve_memory,
            settings.host_reserve_disk,
            settings.host_reserve_network,
        )
        reserve = reserve_of(kept, facts.memory, disk)
        return facts.model_copy(
            update={
                "cpu_model": cpu_model(),
                "disk": disk,
                "network": network,
                "gpus": gpus(settings.host_gpus),
                "reserve": reserve,
                "disk_offered": None if free is None else disk_offer(free, written, reserve),
                "network_offered": None if network is None else max(network - reserve.network, 0),
                "address": address_of(settings),
                "labels": self._labels(facts),
                "limits": limits(info, settings.disk_watch_seconds),
            }
        )

    def _labels(self, facts: HostFacts) -> dict[str, str]:
        found = {"architecture": facts.architecture, "cpu-model": cpu_model()}
        url = self._settings.host_metadata_url or (METADATA_URL if on_ec2() else None)
        if url is not None:
            with suppress(PlatformError):
                instance = this_instance(url)
                found |= {"zone": instance.zone, "machine-type": instance.machine_type}
        return {name: value for name, value in found.items() if value}


def file_system(folder: str) -> tuple[int | None, int | None]:
    """Bytes in all and bytes free where a folder lies; Nones when it is not on this machine."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None, None
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def link_speed() -> int | None:
    """Mbit/s of the link that the default route takes; None when the driver does not say."""
    try:
        routes = [line.split() for line in ROUTES.read_text().splitlines()[1:]]
        [name, *_] = [route[0] for route in routes if route[1] == "00000000"]
        speed = int((LINKS / name / "speed").read_text())
    except (OSError, ValueError, IndexError):
        return None
    return speed if speed > 0 else None


def address_of(settings: Settings) -> str:
    """The IP address that others reach this host by: the setting's, else its own; empty for none.

    Its own is the one that it speaks to Temporal from: by that network the platform is reached.
    """
    if settings.host_address is not None:
        return str(settings.host_address)
    host, _, port = settings.temporal_address.rpartition(":")
    with suppress(OSError, ValueError):
        # Nothing is sent: a datagram socket that is connected only knows its way.
        family, kind, _, _, towards = getaddrinfo(host.strip("[]"), int(port), type=SOCK_DGRAM)[0]
        with socket(family, kind) as way:
            way.connect(towards)
            return str(way.getsockname()[0])
    return ""


def cpu_model() -> str:
    """As the kernel names it; empty where it does not."""
    with suppress(OSError):
        found = re.search(r"^model name\s*: (.+)$", CPU_INFO.read_text(), re.MULTILINE)
        return found.group(1).strip() if found else ""
    return ""


def on_ec2() -> bool:
    """Whether the firmware says so: elsewhere asking for metadata takes long."""
    with suppress(OSError):
        return VENDOR.read_text().strip() == "Amazon EC2"
    return False


def gpus(wanted: str) -> list[str]:
    """Ids of the GPUs: those that a setting names, else NVIDIA's, by UUID or as device nodes."""
    named = device_ids(wanted)
    if named is not None:
        return named
    program = shutil.which("nvidia-smi")
    if program is not None:
        with suppress(OSError, subprocess.SubprocessError):
            asked = [program, "--query-gpu=uuid", "--format=csv,noheader"]
            listed = subprocess.run(
                asked, capture_output=True, text=True, check=True, timeout=PROGRAM_SECONDS
            )
            return listed.stdout.split()
    return sorted(str(node) for node in NODES.glob("nvidia[0-9]*"))


def limits(info: Mapping[str, Any], watch_seconds: float) -> dict[str, str]:
    """How each resource is kept to what was asked for, in words for people."""
    groups = f"kernel: cgroup v{info.get('CgroupVersion', '?')}"
    watched = f"watched: every {watch_seconds:g} s, as {_no_quotas(info)}"
    return {
        "cpu": groups,
        "memory": groups,
        "pids": groups,
        "gpu": "kernel: device cgroup",
        "disk": "kernel: quotas" if has_quotas(info) else watched,
        "network": network_limits(),
    }


def has_quotas(info: Mapping[str, Any]) -> bool:
    """Whether Docker can give the writable layer of a container a size here."""
    driver = info.get("Driver")
    if driver in QUOTA_DRIVERS:
        return True
    folder = str(info.get("DockerRootDir", ""))
    return driver == "overlay2" and _backing(info) == "xfs" and _project_quotas(folder)


def _no_quotas(info: Mapping[str, Any]) -> str:
    return f"{info.get('Driver')} on {_backing(info) or 'this file system'} has no quotas"


def _backing(info: Mapping[str, Any]) -> str:
    status = dict(info.get("DriverStatus") or [])
    return str(status.get("Backing Filesystem", ""))


def _project_quotas(folder: str) -> bool:
    """Whether the mount that a folder lies on counts by project."""
    with suppress(OSError):
        mounts = [line.split() for line in MOUNTS.read_text().splitlines()]
        above = [each for each in mounts if Path(folder).is_relative_to(each[1])]
        if above:
            nearest = max(above, key=lambda each: len(each[1]))
            return bool(QUOTA_OPTIONS & set(nearest[3].split(",")))
    return False
