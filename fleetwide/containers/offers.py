"""What a machine offers of what it has: pure arithmetic on what was measured."""

from dataclasses import dataclass

from fleetwide.errors import InvalidInput
from fleetwide.models.hosts import HostReserve

MEMORY_PART = 10
LEAST_MEMORY = 512 * 1024**2
DISK_PART = 20
LEAST_DISK = 1000**3
MOST_DISK = 20 * 1000**3
LEAST_PART = 100


@dataclass(frozen=True)
class Kept:
    """What the operator wants kept back; None for the usual."""

    cpu: float = 0.0
    memory: int | None = None
    disk: int | None = None
    network: int = 0


def reserve_of(kept: Kept, memory: int, disk: int | None) -> HostReserve:
    """What a machine of this size keeps back: bytes, Mbit/s."""
    usual_memory = max(memory // MEMORY_PART, LEAST_MEMORY)
    usual_disk = min(max((disk or 0) // DISK_PART, LEAST_DISK), MOST_DISK)
    return HostReserve(
        cpu=kept.cpu,
        memory=usual_memory if kept.memory is None else kept.memory,
        disk=usual_disk if kept.disk is None else kept.disk,
        network=kept.network,
    )


def disk_offer(free: int, written: int, reserve: HostReserve) -> int:
    """Bytes for containers: what is free, and what those that run have written already."""
    return max(free + written - reserve.disk, 0)


def disk_pressure(free: int, total: int, reserve: int, *, pressed: bool) -> str:
    """Why a disk is too full for new work, in words; empty when it is not.

    It is when what is kept back for the system is being eaten, or the last hundredth. Once it was,
    a quarter more has to be free: else work would come and fill it at once.
    """
    least = max(reserve, total // LEAST_PART)
    if free >= (least * 5 // 4 if pressed else least):
        return ""
    return f"DiskPressure: {_mib(free)} of {_mib(total)} are free, {_mib(least)} are kept back"


def _mib(size: int) -> str:
    return f"{size // 1024**2} MiB"


def port_range(text: str) -> tuple[int, int]:
    """``20000-32000``: the first and the last port.

    Raises ``InvalidInput``.
    """
    first, dash, last = text.partition("-")
    if not (dash and first.strip().isdecimal() and last.strip().isdecimal()):
        raise InvalidInput.for_field("host_ports", "must be from-to, as 20000-32000", given=text)
    return int(first), int(last)


def label_pairs(text: str) -> dict[str, str]:
    """``rack=a1,disk=ssd`` as labels.

    Raises ``InvalidInput``.
    """
    found = {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise InvalidInput.for_field("host_labels", "must be name=value,...", given=text)
        found[name.strip()] = value.strip()
    return found


def device_ids(text: str) -> list[str] | None:
    """The devices that a setting names; None when the machine is to say."""
    if text.strip() == "auto":
        return None
    if text.strip() in ("", "none"):
        return []
    return [each.strip() for each in text.split(",") if each.strip()]
