"""From the Engine's figures of a container to a sample that people can read."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fleetwide.models.errands import UsageSample

NANO = 1_000_000_000


def sample(now: Mapping[str, Any], before: Mapping[str, Any], oom_kills: int | None) -> UsageSample:
    """The sample of two answers of the Engine's ``/containers/<id>/stats``, the newer one first.

    Figures that an Engine does not give count as 0.
    """
    cpu, throttling = _part(now, "cpu_stats"), _part(now, "cpu_stats", "throttling_data")
    memory = _part(now, "memory_stats")
    return UsageSample(
        at=datetime.fromisoformat(now["read"]),
        cpu_percent=round(_cpu_percent(now, before), 1),
        cpu_seconds=_number(_part(cpu, "cpu_usage"), "total_usage") / NANO,
        periods=_number(throttling, "periods"),
        throttled_periods=_number(throttling, "throttled_periods"),
        throttled_seconds=_number(throttling, "throttled_time") / NANO,
        memory=_used(memory),
        memory_limit=_number(memory, "limit"),
        oom_kills=oom_kills,
        pids=_number(_part(now, "pids_stats"), "current"),
        network_received=_network(now, "rx_bytes"),
        network_sent=_network(now, "tx_bytes"),
        disk_read=_disk(now, "read"),
        disk_written=_disk(now, "write"),
    )


def oom_kills(text: str) -> int | None:
    """The count in ``memory.events`` (cgroup 2) or ``memory.oom_control`` (cgroup 1)."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.isdecimal():
            return int(value)
    return None


def _cpu_percent(now: Mapping[str, Any], before: Mapping[str, Any]) -> float:
    used = _cpu(now) - _cpu(before)
    passed = datetime.fromisoformat(now["read"]) - datetime.fromisoformat(before["read"])
    seconds = passed.total_seconds()
    return max(0.0, used / NANO / seconds * 100) if seconds > 0 else 0.0


def _cpu(stats: Mapping[str, Any]) -> int:
    return _number(_part(stats, "cpu_stats", "cpu_usage"), "total_usage")


def _used(memory: Mapping[str, Any]) -> int:
    detail = _part(memory, "stats")
    # The first is cgroup 1's name, the second cgroup 2's.
    cache = _number(detail, "total_inactive_file") or _number(detail, "inactive_file")
    return max(0, _number(memory, "usage") - cache)


def _network(stats: Mapping[str, Any], name: str) -> int:
    return sum(_number(one, name) for one in _part(stats, "networks").values())


def _disk(stats: Mapping[str, Any], operation: str) -> int:
    found = _part(stats, "blkio_stats").get("io_service_bytes_recursive") or []
    return sum(one["value"] for one in found if one["op"].lower() == operation)


def _part(stats: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        stats = stats.get(name) or {}
    return stats


def _number(stats: Mapping[str, Any], name: str) -> int:
    return int(stats.get(name) or 0)
