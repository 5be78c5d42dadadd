"""Control groups of either version, on a folder that stands for the machine's."""

import os
import subprocess
from pathlib import Path

import pytest

from fleetwide.providers import cgroups
from fleetwide.providers.cgroups import ControlGroup, limited


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cgroups, "MOUNT", tmp_path)
    return tmp_path


def test_the_unified_interface_has_one_folder_for_both_limits(mount: Path) -> None:
    (mount / "cgroup.controllers").write_text("memory pids\n")
    with limited("smoke", memory=1000, processes=10) as group:
        (folder,) = group.folders
        assert folder.name.startswith(f"fleetwide-smoke-{os.getpid()}-")
        limits = {path.name: path.read_text() for path in folder.iterdir()}
    assert limits == {"memory.max": "1000", "memory.swap.max": "0", "pids.max": "10"}


def test_the_older_interface_has_a_folder_for_each_limit(mount: Path) -> None:
    for controller in ("memory", "pids"):
        (mount / controller).mkdir()
    with limited("smoke", memory=1000, processes=10) as group:
        memory, pids = group.folders
        assert (memory / "memory.limit_in_bytes").read_text() == "1000"
        assert (pids / "pids.max").read_text() == "10"


def test_a_machine_that_has_none_to_give_is_no_fault(mount: Path) -> None:
    with limited("smoke", memory=1000, processes=10) as group:
        assert group == ControlGroup()
        assert not group.out_of_memory
    assert list(mount.iterdir()) == []


@pytest.mark.parametrize("name", ["memory.events", "memory.oom_control"])
def test_an_end_for_want_of_memory_is_seen(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("under_oom 0\noom 3\noom_kill 0\n")
    assert not ControlGroup((tmp_path,)).out_of_memory
    (tmp_path / name).write_text("under_oom 0\noom 3\noom_kill 2\n")
    assert ControlGroup((tmp_path,)).out_of_memory


def test_what_a_killed_worker_left_is_removed_and_nothing_else(mount: Path) -> None:
    gone = 2**22 + 1  # above the largest process number of Linux
    ours, living, others = (
        mount / name
        for name in (f"fleetwide-smoke-{gone}-0", f"fleetwide-smoke-{os.getpid()}-x", "system")
    )
    for folder in (ours, living, others):
        folder.mkdir()
    with limited("smoke", memory=1000, processes=10):
        assert not ours.exists()
    assert living.exists()
    assert others.exists()


def test_a_refused_process_is_seen(tmp_path: Path) -> None:
    (tmp_path / "pids.events").write_text("max 0\n")
    assert not ControlGroup((tmp_path,)).out_of_processes
    (tmp_path / "pids.events").write_text("max 7\n")
    assert ControlGroup((tmp_path,)).out_of_processes


def test_a_command_joins_every_folder_of_its_group(tmp_path: Path) -> None:
    folders = (tmp_path / "memory", tmp_path / "with space")
    for folder in folders:
        folder.mkdir()
    done = subprocess.run(
        ControlGroup(folders).joined(["echo", "--", "run it"]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "-- run it\n"
    assert [(folder / "cgroup.procs").read_text() for folder in folders] == ["0\n", "0\n"]


def test_a_group_tells_its_processes(tmp_path: Path) -> None:
    assert ControlGroup((tmp_path,)).members() == []
    (tmp_path / "cgroup.procs").write_text("1\n22\n")
    assert ControlGroup((tmp_path,)).members() == [1, 22]


def test_a_machine_without_groups_is_told_of_once(
    mount: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cgroups._tell_missing.cache_clear()
    for _ in range(2):
        with limited("script", memory=1000, processes=10):
            pass
    assert len(caplog.messages) == 1
    assert str(mount) in caplog.text
