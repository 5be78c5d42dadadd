"""Payloads on a real disk: what lies there afterwards, to the byte, and every way it goes wrong."""

import filecmp
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from fleetwide.errors import ArtifactRejected, BuildFailed
from fleetwide.models.baseos import MIB
from fleetwide.providers.disk_patch import PatchRequest, patch_disk
from fleetwide.providers.disk_tools import Workbench
from fleetwide.providers.disks import digest_disk
from fleetwide.providers.layers import LayerEntry, plain_entries
from fleetwide.providers.progress import no_progress
from tests.integration.vm_bakes.conftest import (
    CAPABILITY,
    EPOCH,
    Base,
    deletion,
    staged,
    unpacked,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


class Cancelled(Exception):
    pass


def patched(base: Base, entries: Sequence[LayerEntry], folder: Path) -> Path:
    """A copy of the base's disk with the entries on it."""
    bench = bench_of(base, folder)
    patch_disk(bench, request_of(base, entries), no_progress)
    return bench.disk


def bench_of(base: Base, folder: Path) -> Workbench:
    folder.mkdir()
    bench = Workbench(base.tools, folder, EPOCH)
    shutil.copyfile(base.raw, bench.disk)
    return bench


def request_of(base: Base, entries: Sequence[LayerEntry]) -> PatchRequest:
    return PatchRequest(base.root, base.tree, entries, "baseos 1")


def running() -> Iterator[list[str]]:
    """The command lines of all processes."""
    return (one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"]))


def looks(tree: Path, path: str) -> tuple[int, int, int, int]:
    found = (tree / path).lstat()
    return found.st_mode, found.st_uid, found.st_gid, int(found.st_mtime)


@pytest.fixture(scope="module")
def everything(
    base: Base, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, list[LayerEntry]]:
    """A disk with a payload of everything on it, that disk's tree, and the entries."""
    folder = tmp_path_factory.mktemp("everything")
    entries = staged(folder / "staging")
    raw = patched(base, entries, folder / "work")
    return raw, unpacked(base, raw, folder / "trees"), entries


def test_each_entry_is_on_the_disk_as_it_says(
    everything: tuple[Path, Path, list[LayerEntry]],
) -> None:
    _, tree, entries = everything
    for entry in entries:
        if entry.path.startswith(("usr/linked", "srv/absolute")):
            continue
        assert entry.source is not None
        assert looks(tree, entry.path) == (entry.mode, entry.uid, entry.gid, entry.mtime)
        if stat.S_ISREG(entry.mode):
            assert filecmp.cmp(tree / entry.path, entry.source, shallow=False), entry.path
        if stat.S_ISLNK(entry.mode):
            assert (tree / entry.path).readlink() == entry.source.readlink()


def test_capabilities_names_and_holes_are_kept(
    everything: tuple[Path, Path, list[LayerEntry]],
) -> None:
    app = everything[1] / "opt/hello"
    assert os.getxattr(app / "bin/ping", "security.capability") == CAPABILITY
    assert (app / "bin/ping").samefile(app / "bin/pong")
    assert (app / "bin/ping").stat().st_nlink == 2
    assert (app / "holes").stat().st_blocks * 512 < MIB
    assert stat.S_ISFIFO((app / "fifo").lstat().st_mode)


def test_a_folder_that_is_a_link_on_the_disk_stays_one(
    everything: tuple[Path, Path, list[LayerEntry]], base: Base
) -> None:
    tree = everything[1]
    assert (tree / "usr/linked").readlink() == Path("local")
    assert (tree / "usr/local/new").read_text() == "through a link"
    assert (tree / "srv/absolute").readlink() == Path("/opt/kept")
    assert (tree / "opt/kept/new").read_text() == "through a link"
    assert looks(tree, "opt/kept") == looks(base.tree, "opt/kept")


def test_the_rest_of_the_disk_is_as_it_was(
    everything: tuple[Path, Path, list[LayerEntry]], base: Base
) -> None:
    tree = everything[1]
    for name in ("opt/old/deep/b", "etc/fstab", "usr/bin/env", "srv/two", "boot/grub/grub.cfg"):
        assert filecmp.cmp(tree / name, base.tree / name, shallow=False)
        assert looks(tree, name) == looks(base.tree, name)
    assert (tree / "srv/two").stat().st_nlink == 1


def test_the_same_payload_gives_the_same_bytes(
    everything: tuple[Path, Path, list[LayerEntry]], base: Base, tmp_path: Path
) -> None:
    # Made elsewhere, at another time, and on another file system: the files must be copied.
    elsewhere = Path("/dev/shm") / f"payload-test-{os.getpid()}"
    try:
        again = patched(base, list(reversed(staged(elsewhere))), tmp_path / "work")
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)
    assert digest_disk(again, no_progress) == digest_disk(everything[0], no_progress)


def test_whiteouts_and_opaque_folders_take_away(base: Base, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    (staging / "opt/kept").mkdir(parents=True)
    (staging / "opt/kept/only").write_text("this")
    entries = [
        *plain_entries(staging, EPOCH),
        deletion("opt/.wh.old"),
        deletion("opt/kept/.wh..wh..opq"),
        deletion("srv/.wh.two"),
        deletion("srv/.wh.a link"),
        deletion("srv/.wh.never was"),
    ]
    tree = unpacked(base, patched(base, entries, tmp_path / "work"), tmp_path / "trees")
    assert sorted(path.name for path in (tree / "opt").iterdir()) == ["kept"]
    assert [path.name for path in (tree / "opt/kept").iterdir()] == ["only"]
    assert sorted(path.name for path in (tree / "srv").iterdir()) == ["a folder", "absolute", "one"]
    assert (tree / "srv/one").stat().st_nlink == 1


def test_what_is_taken_away_can_come_back_as_something_else(base: Base, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    (staging / "usr/linked").mkdir(parents=True)
    (staging / "usr/linked/inside").write_text("a folder of its own")
    entries = [*plain_entries(staging, EPOCH), deletion("usr/.wh.linked")]
    tree = unpacked(base, patched(base, entries, tmp_path / "work"), tmp_path / "trees")
    assert not (tree / "usr/linked").is_symlink()
    assert (tree / "usr/linked/inside").read_text() == "a folder of its own"
    assert not (tree / "usr/local/inside").exists()


def test_a_disk_that_is_too_small_is_told_with_the_size_that_would_do(
    base: Base, tmp_path: Path
) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / "big").write_bytes(os.urandom(MIB) * 300)
    with pytest.raises(BuildFailed, match="it has 256MiB, 512MiB are needed") as caught:
        patched(base, plain_entries(staging, EPOCH), tmp_path / "work")
    assert caught.value.hint == "in the spec of baseos 1: vm: {size: 512MiB}"


def test_a_disk_without_room_for_more_files_is_told_too(base: Base, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    for number in range(20_000):
        (staging / str(number)).touch()
    with pytest.raises(BuildFailed, match="it has 256MiB, 512MiB are needed"):
        patched(base, plain_entries(staging, EPOCH), tmp_path / "work")


def test_device_nodes_are_refused(base: Base, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    os.mknod(staging / "kmem", 0o020666, os.makedev(1, 2))
    with pytest.raises(ArtifactRejected, match="/kmem is a device node"):
        patched(base, plain_entries(staging, EPOCH), tmp_path / "work")


@pytest.mark.parametrize("name", ["a\nquit", "a\rb"])
def test_a_name_with_a_line_break_cannot_become_a_command(
    name: str, base: Base, tmp_path: Path
) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / name).touch()
    with pytest.raises(BuildFailed, match="holds a line break"):
        patched(base, plain_entries(staging, EPOCH), tmp_path / "work")


def test_a_link_that_is_too_long_for_a_command_is_refused(base: Base, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / "link").symlink_to('"' * 4000)
    with pytest.raises(BuildFailed, match="too long for the disk"):
        patched(base, plain_entries(staging, EPOCH), tmp_path / "work")


@pytest.mark.parametrize("phrase", ["measuring", "collecting", "writing", "checking"])
def test_a_cancel_ends_every_program(phrase: str, base: Base, tmp_path: Path) -> None:
    entries = staged(tmp_path / "staging")
    bench = bench_of(base, tmp_path / "work")

    def progress(told: str, _fraction: float | None) -> None:
        if told.startswith(phrase):
            raise Cancelled

    with pytest.raises(Cancelled):
        patch_disk(bench, request_of(base, entries), progress)
    while any(str(tmp_path) in " ".join(words) for words in running()):
        time.sleep(0.1)
