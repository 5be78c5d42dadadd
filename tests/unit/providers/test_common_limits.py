"""Control groups by each driver and version, on folders that look like the kernel's."""

import stat
from pathlib import Path

import pytest

from fleetwide.errors import DockerUnavailable
from fleetwide.providers.common_limits import Limits, SliceLimits, common_limits

LIMITS = Limits(cpu_milli=1500, memory=64 * 1024**2, processes=100)


def test_version_two_has_all_limits_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    limits = common_limits("cgroupfs", "me", tmp_path)
    parent = limits.ensure("fw-a", LIMITS)
    group = tmp_path / parent.lstrip("/")
    assert (group / "memory.max").read_text() == str(64 * 1024**2)
    assert (group / "cpu.max").read_text() == "150000 100000"
    assert (group / "pids.max").read_text() == "100"
    for above in (tmp_path, group.parent):
        assert (above / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    assert limits.ensure("fw-a", LIMITS) == parent


def test_version_one_has_a_folder_for_each_controller(tmp_path: Path) -> None:
    for controller in ("memory", "cpu", "pids"):
        (tmp_path / controller).mkdir()
    limits = common_limits("cgroupfs", "me", tmp_path)
    parent = limits.ensure("fw-a", LIMITS).lstrip("/")
    assert (tmp_path / "cpu" / parent / "cpu.cfs_quota_us").read_text() == "150000"
    assert (tmp_path / "memory" / parent / "memory.limit_in_bytes").exists()
    # In the kernel's own folders these files do not keep a folder from going.
    for file in tmp_path.glob(f"*/{parent}/*"):
        file.unlink()
    limits.remove("fw-a")
    limits.remove("fw-a")
    assert [path.name for path in tmp_path.glob("*/*")] == []


def test_two_host_workers_share_no_group(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("")
    one, two = (common_limits("cgroupfs", who, tmp_path) for who in ("one", "two"))
    assert one.ensure("fw-a", LIMITS) != two.ensure("fw-a", LIMITS)


def test_a_machine_that_gives_no_groups_is_told_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("no folder")
    with pytest.raises(DockerUnavailable, match="cannot hold several containers") as caught:
        common_limits("cgroupfs", "me", tmp_path).ensure("fw-a", LIMITS)
    assert "as root" in str(caught.value.hint)


def scripted(tmp_path: Path, ending: str) -> tuple[str, Path]:
    """A systemctl that notes its words."""
    program, noted = tmp_path / "systemctl", tmp_path / "noted"
    program.write_text(f'#!/bin/sh\necho "$@" >> {noted}\n{ending}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return str(program), noted


def test_a_slice_gets_its_limits_before_anything_runs_in_it(tmp_path: Path) -> None:
    program, noted = scripted(tmp_path, "exit 0")
    limits = SliceLimits("fleetwide-abc", program)
    name = limits.ensure("fw-a", LIMITS)
    assert name.startswith("fleetwide-abc-")
    assert name.endswith(".slice")
    limits.remove("fw-a")
    limits_set = "MemoryMax=67108864 MemorySwapMax=0 CPUQuota=150% TasksMax=100"
    assert noted.read_text().splitlines() == [
        f"set-property --runtime {name} {limits_set}",
        f"revert {name}",
    ]


def test_a_systemd_that_refuses_is_told(tmp_path: Path) -> None:
    program, _ = scripted(tmp_path, "echo 'Access denied' >&2; exit 1")
    with pytest.raises(DockerUnavailable, match="Access denied"):
        SliceLimits("fleetwide-abc", program).ensure("fw-a", LIMITS)
