"""A container that wrote more than its disk is ended, with what it wrote as the evidence."""

import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from fleetwide.models.containers import AttemptKey, ContainerSpec, RunContainer
from fleetwide.models.task_states import EndReason
from fleetwide.providers import docker_resources
from fleetwide.providers.disk_watch import DiskWatch, sentence
from fleetwide.providers.docker_resources import folder_bytes, held_images, with_size

MEGABYTE = 1000**2


class Writing:
    """An attempt that wrote something; it remembers how it was ended."""

    def __init__(self, index: int) -> None:
        spec = {"image": "apps/x:1", "resources": {"disk": "100MB"}}
        key = AttemptKey(workflow_id="batch/1", run_id="r", index=index)
        self.run = RunContainer(
            key=key,
            host_id="h",
            app="x",
            image="apps/x@sha256:0",
            container=ContainerSpec.model_validate(spec),
        )
        self.name = key.container_name()
        self.ended = threading.Event()
        self.told: tuple[EndReason, str] | None = None

    def end(self, reason: EndReason, why: str = "") -> None:
        self.told = (reason, why)
        self.ended.set()


class Host:
    """Says how much each attempt wrote, and counts how often it was asked."""

    def __init__(self, written: dict[str, int]) -> None:
        self.known = written
        self.asked = 0

    def written(self) -> dict[str, int]:
        self.asked += 1
        return self.known


def test_only_the_one_that_wrote_too_much_is_ended_and_is_told_both_numbers() -> None:
    large, small = Writing(0), Writing(1)
    host = Host({large.name: 150 * MEGABYTE, small.name: 100 * MEGABYTE})
    watch = DiskWatch(host, 0.02)
    with watch.watching(large), watch.watching(small):
        assert large.ended.wait(10)
    assert large.told == (
        EndReason.DISK_LIMIT_EXCEEDED,
        "it has written 150 MB and may write 100 MB (container.resources.disk)",
    )
    assert small.told is None


def test_many_attempts_cost_one_question() -> None:
    attempts = [Writing(index) for index in range(50)]
    host = Host(dict.fromkeys((each.name for each in attempts), 150 * MEGABYTE))
    watch = DiskWatch(host, 0.5)
    for each in attempts:
        watch._look(each)
    assert all(each.told for each in attempts)
    assert host.asked == 1


def test_the_sentence_names_the_setting_that_would_have_helped() -> None:
    assert "container.resources.disk" in sentence(2, 1)


def test_folders_count_once_and_links_do_not_lead_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    for place in ("a", "a/b", "outside"):
        (tmp_path / place / "file").write_bytes(b"x" * 8192)
    (tmp_path / "a" / "link").symlink_to(tmp_path / "outside")
    twice = folder_bytes([str(tmp_path / "a"), str(tmp_path / "a" / "b")])
    assert 2 * 8192 <= twice < 3 * 8192
    assert folder_bytes([str(tmp_path / "gone")]) == 0


def test_a_file_of_many_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "file").write_bytes(b"x" * 8192)
    for n in range(5):
        (tmp_path / "a" / f"name-{n}").hardlink_to(tmp_path / "file")
    assert 8192 <= folder_bytes([str(tmp_path)]) < 2 * 8192


def test_a_folder_that_is_swapped_for_a_link_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "top" / "inside"
    for folder in (outside, inside):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * 8192)

    real = os.open

    def swap_and_open(path: Any, *args: Any, **more: Any) -> int:
        if path == "inside":
            inside.rename(tmp_path / "moved")
            inside.symlink_to(outside)
        return real(path, *args, **more)

    monkeypatch.setattr(os, "open", swap_and_open)
    assert folder_bytes([str(tmp_path / "top")]) == 0
    assert inside.is_symlink()


def test_a_deep_tree_is_looked_through(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("a-folder", dir_fd=here)
        above, here = here, os.open("a-folder", os.O_RDONLY, dir_fd=here)
        os.close(above)
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(file, b"x" * 8192)
    os.close(file)
    os.close(here)
    assert folder_bytes([str(tmp_path)]) >= 8192
    # The longest path that the kernel takes is shorter: what clears up after tests needs it so.
    subprocess.run(["rm", "-rf", str(tmp_path / "a-folder")], check=True)


def test_a_look_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(5):
        (tmp_path / f"file-{n}").write_bytes(b"x" * 8192)
    monkeypatch.setattr(docker_resources, "MOST_STEPS", 2)
    assert 2 * 8192 <= folder_bytes([str(tmp_path)]) < 3 * 8192


def test_images_are_told_by_their_digests_in_this_registry_only() -> None:
    images: list[dict[str, Any]] = [
        {"RepoDigests": ["r:5000/apps/x@sha256:a", "other/apps/x@sha256:b"]},
        {"RepoDigests": None},
        {"RepoDigests": ["r:5000/apps/y@sha256:c"]},
    ]
    assert held_images(images, "r:5000") == ["a", "c"]
    many = [{"RepoDigests": [f"r/x@sha256:{n:064}"]} for n in range(300)]
    assert held_images(many, "r") == ["0" * 16]
    many = [{"RepoDigests": [f"r/x@sha256:{n:016}ff"]} for n in range(300)]
    assert len(held_images(many, "r")) == 100


def test_a_quota_is_what_the_label_names() -> None:
    body = {"Labels": {"fleetwide.disk": "5000"}, "HostConfig": {"Memory": 1}}
    assert with_size(body)["HostConfig"] == {"Memory": 1, "StorageOpt": {"size": "5000"}}
    bare = {"HostConfig": {"Memory": 1}}
    assert with_size(bare) == bare
