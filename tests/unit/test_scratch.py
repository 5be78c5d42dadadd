"""A builder's scratch folder."""

import subprocess
from pathlib import Path

import pytest

from fleetwide.errors import Conflict
from fleetwide.providers.scratch import held


def test_leftovers_go_and_bases_stay(tmp_path: Path) -> None:
    (tmp_path / "os-1" / "deep").mkdir(parents=True)
    (tmp_path / "bases" / "abc").mkdir(parents=True)
    with held(tmp_path):
        assert not (tmp_path / "os-1").exists()
        assert (tmp_path / "bases" / "abc").is_dir()


def test_a_second_builder_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(Conflict, match="another builder uses"), held(tmp_path):
        pass
    with held(tmp_path):
        pass


def told(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_on_ext4_work_folders_are_spread_over_the_disk(tmp_path: Path) -> None:
    if told("stat", "--file-system", "--format=%T", tmp_path).strip() != "ext2/ext3":
        pytest.skip("the folder for tests is not on ext4")
    with held(tmp_path):
        assert "T" in told("lsattr", "-d", tmp_path).split()[0]
