"""The network rate of a container: token buckets at both ends of its link, by ``tc``.

The bucket on the host's end holds what comes in, the one inside the container's own namespace what
goes out; the container has no right to change either. It takes root's network rights, ``tc``,
``nsenter``, and a Docker on the same kernel; where one is missing the host says so, and the rate
is only counted at placement.
"""

import re
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

from fleetwide.errors import PlatformError

PROGRAMS = ("tc", "ip", "nsenter", "unshare")
CAP_NET_ADMIN = 12
CAP_SYS_ADMIN = 21
BITS_PER_BYTE = 8
# The kernel refills the bucket at least every 10 ms.
BURST_SECONDS = 0.01
LEAST_BURST = 64 * 1024
LATENCY = "50ms"
SECONDS = 10
INSIDE = "eth0"
STATUS = Path("/proc/self/status")
LINKS = Path("/sys/class/net")


def network_limits() -> str:
    """How the rate is kept here, in words for people."""
    missing = why_not()
    return f"reserved only: {missing}" if missing else "kernel: tc, in and out"


@cache
def why_not() -> str | None:
    """What is missing for limits to be set; None when nothing is."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return f"there is no {program}"
    if not _may({CAP_NET_ADMIN, CAP_SYS_ADMIN}):
        return "the host worker has no rights over networks"
    # In a namespace of its own, so that nothing of this machine is touched.
    probe = ["unshare", "--net", *_bucket("lo", 1)]
    return None if _run(probe) is not None else "the kernel has no token buckets (sch_tbf)"


def limit(process: int, mbps: int) -> bool:
    """Hold a container's network to a rate; False when it is over, or on no network of its own.

    ``process`` is its first process as the host numbers it.

    Raises ``PlatformError`` when the kernel refuses.
    """
    inside = ["nsenter", f"--net=/proc/{process}/ns/net"]
    if not Path(f"/proc/{process}/ns/net").exists():
        return False
    shown = _run([*inside, "ip", "-o", "link", "show", INSIDE])
    if shown is None:
        return False
    peer = re.search(rf"{INSIDE}@if(\d+):", shown)
    outside = _by_index(int(peer.group(1))) if peer else None
    if outside is None:
        return False
    for command in ([*inside, *_bucket(INSIDE, mbps)], _bucket(outside, mbps)):
        if _run(command) is None and Path(f"/proc/{process}/ns/net").exists():
            raise PlatformError(f"could not limit the network of process {process}: {command[-9:]}")
    return True


def _bucket(link: str, mbps: int) -> list[str]:
    burst = max(int(mbps * 1_000_000 / BITS_PER_BYTE * BURST_SECONDS), LEAST_BURST)
    size = ["rate", f"{mbps}mbit", "burst", str(burst), "latency", LATENCY]
    return ["tc", "qdisc", "replace", "dev", link, "root", "tbf", *size]


def _by_index(index: int) -> str | None:
    for link in LINKS.iterdir():
        # Links come and go with the containers of others.
        with suppress(OSError):
            if (link / "ifindex").read_text().strip() == str(index):
                return link.name
    return None


def _run(command: list[str]) -> str | None:
    """What a program printed; None when it failed, or took too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


def _may(wanted: set[int]) -> bool:
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", STATUS.read_text(), re.MULTILINE)
    mask = int(found.group(1), 16) if found else 0
    return all(mask >> bit & 1 for bit in wanted)
