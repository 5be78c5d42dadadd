"""Samples from what the Engine says, for both kinds of control groups."""

from typing import Any

import pytest

from fleetwide.containers.usage import oom_kills, sample

MIB = 1024**2


def stats(second: int, cpu: int, **more: Any) -> dict[str, Any]:
    return {
        "read": f"2026-01-01T00:00:{second:02d}.5Z",
        "cpu_stats": {
            "cpu_usage": {"total_usage": cpu},
            "throttling_data": {"periods": 8, "throttled_periods": 3, "throttled_time": 2 * 10**9},
        },
        **more,
    }


def test_a_sample_of_version_two() -> None:
    now = stats(
        2,
        3 * 10**9,
        memory_stats={"usage": 10 * MIB, "limit": 64 * MIB, "stats": {"inactive_file": 4 * MIB}},
        pids_stats={"current": 7},
        networks={"eth0": {"rx_bytes": 5, "tx_bytes": 6}, "eth1": {"rx_bytes": 1, "tx_bytes": 1}},
        blkio_stats={
            "io_service_bytes_recursive": [{"op": "read", "value": 9}, {"op": "Write", "value": 8}]
        },
    )
    found = sample(now, stats(0, 2 * 10**9), 1)
    assert found.cpu_percent == 50.0
    assert (found.periods, found.throttled_periods, found.throttled_seconds) == (8, 3, 2.0)
    assert (found.memory, found.memory_limit, found.pids) == (6 * MIB, 64 * MIB, 7)
    assert (found.network_received, found.network_sent) == (6, 7)
    assert (found.disk_read, found.disk_written, found.oom_kills) == (9, 8, 1)


def test_version_one_names_the_cache_otherwise() -> None:
    memory = {"usage": 10 * MIB, "stats": {"total_inactive_file": 3 * MIB, "inactive_file": 1}}
    assert sample(stats(1, 0, memory_stats=memory), stats(0, 0), None).memory == 7 * MIB


def test_what_an_engine_does_not_give_counts_as_nothing() -> None:
    bare = {"read": "2026-01-01T00:00:00Z", "blkio_stats": {"io_service_bytes_recursive": None}}
    found = sample(bare, bare, None)
    assert (found.cpu_percent, found.memory, found.pids, found.disk_read) == (0.0, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("low 0\nhigh 0\nmax 4\noom 2\noom_kill 3\noom_group_kill 0\n", 3),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 12\n", 12),
        ("", None),
    ],
)
def test_memory_kills_of_both_versions(text: str, count: int | None) -> None:
    assert oom_kills(text) == count
