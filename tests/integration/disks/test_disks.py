import filecmp
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from fleetwide.baseos.disks import SECTOR, disk_layout
from fleetwide.errors import BuildFailed, PlatformError
from fleetwide.models.baseos import MIB, BootMode
from fleetwide.providers import disks
from fleetwide.providers.disks import WrittenDisk, write_disk
from fleetwide.providers.progress import no_progress
from fleetwide.providers.rooted import run_rooted
from tests.integration.disks.conftest import (
    CAPABILITY,
    EPOCH,
    KERNEL,
    SIZE,
    disk_request,
    make_tree,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
one_suite = pytest.mark.parametrize("tools", ["bookworm"], indirect=True)


@pytest.fixture(scope="module", params=list(BootMode))
def boot(request: pytest.FixtureRequest) -> BootMode:
    mode: BootMode = request.param
    return mode


@pytest.fixture(scope="module")
def written(
    tree: Path, tools: Path, boot: BootMode, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, WrittenDisk]:
    target = tmp_path_factory.mktemp("disk") / "disk.raw"
    return target, write_disk(disk_request(tree, tools, target, boot), no_progress)


def inside(tools: Path, disk: Path, boot: BootMode, request: str) -> list[str]:
    """What debugfs says about the root file system of a disk."""
    start = disk_layout(SIZE, boot).root.start
    finished = run_rooted(
        tools,
        ["debugfs", "-R", request, f"/work/{disk.name}?offset={start}"],
        binds={"work": disk.parent},
    )
    assert finished.returncode == 0
    return [line for line in finished.lines if not line.startswith("debugfs ")]


def test_the_same_tree_gives_the_same_bytes_on_another_day_and_file_system(
    written: tuple[Path, WrittenDisk], tools: Path, boot: BootMode, tmp_path: Path
) -> None:
    target, disk = written
    # A copy on memory lists its folders in another order and has other times of access and change.
    elsewhere = Path("/dev/shm") / f"disk-test-{os.getpid()}"
    try:
        copy = make_tree(elsewhere)
        again = write_disk(disk_request(copy, tools, tmp_path / "again.raw", boot), no_progress)
    finally:
        shutil.rmtree(elsewhere, ignore_errors=True)
    assert again == disk
    assert filecmp.cmp(target, tmp_path / "again.raw", shallow=False)


def test_the_disk_is_what_is_told_and_sparse(written: tuple[Path, WrittenDisk]) -> None:
    target, disk = written
    with target.open("rb") as raw:
        assert disk.digest == f"sha256:{hashlib.file_digest(raw, 'sha256').hexdigest()}"
    assert target.stat().st_size == disk.size == SIZE
    assert 0 < disk.used < SIZE // 4
    assert target.stat().st_blocks * 512 < SIZE // 4
    assert [entry.name for entry in target.parent.iterdir()] == [target.name]


def test_owners_modes_links_nodes_and_attributes_are_kept(
    written: tuple[Path, WrittenDisk], tools: Path, boot: BootMode
) -> None:
    def looks(path: str) -> str:
        return "\n".join(inside(tools, written[0], boot, f'stat "{path}"'))

    ping = looks("/usr/ping")
    assert "Mode:  04755" in ping
    assert "Links: 2" in ping
    assert ping.split(maxsplit=2)[:2] == looks("/usr/pong").split(maxsplit=2)[:2]
    assert "Mode:  0755" in looks("/")
    assert "User:  1000   Group:  1000" in looks("/home/joe")
    assert 'Fast link dest: "ping"' in looks("/usr/link")
    assert "Device major/minor number: 01:03" in looks("/usr/null")
    assert "Type: FIFO" in looks("/usr/fifo")
    assert "Mode:  01777" in looks("/tmp")
    [value] = inside(tools, written[0], boot, "ea_get -x /usr/ping security.capability")
    assert bytes.fromhex(value.rpartition("=")[2].strip()) == CAPABILITY


def test_no_time_lies_behind_the_epoch(
    written: tuple[Path, WrittenDisk], tools: Path, boot: BootMode
) -> None:
    times = [
        line.split()
        for path in ("/", "/etc", "/etc/fstab", "/tmp", '/home/joe/say ""hi""', "/usr/many/08999")
        for line in inside(tools, written[0], boot, f'stat "{path}"')
        if "time: 0x" in line
    ]
    assert {name for name, *_ in times} == {"atime:", "ctime:", "mtime:", "crtime:"}
    seconds = {int(value.split(":")[0], 16) for _, value, *_ in times}
    assert seconds == {EPOCH, EPOCH - 1000}


def test_folders_of_the_running_machine_are_empty(
    written: tuple[Path, WrittenDisk], tools: Path, boot: BootMode
) -> None:
    for folder in ("/dev", "/run", "/tmp"):
        found = inside(tools, written[0], boot, f"ls -p {folder}")
        assert [line.split("/")[5] for line in found if line] == [".", ".."]


def test_the_image_gets_its_own_file_table_and_menu(
    written: tuple[Path, WrittenDisk], tools: Path, boot: BootMode
) -> None:
    table = inside(tools, written[0], boot, "cat /etc/fstab")
    assert table[0].startswith(f"UUID={written[1].root_uuid} / ext4 ")
    assert len(table) == (1 if boot is BootMode.BIOS else 2)
    menu = "\n".join(inside(tools, written[0], boot, "cat /boot/grub/grub.cfg"))
    assert f"linux /boot/vmlinuz-{KERNEL} root=UUID={written[1].root_uuid} ro" in menu
    assert "panic=5" in menu


def test_the_partition_table_is_valid(
    written: tuple[Path, WrittenDisk], tools: Path, boot: BootMode
) -> None:
    command = ["sfdisk", "--verify", f"/work/{written[0].name}"]
    finished = run_rooted(tools, command, binds={"work": written[0].parent})
    assert finished.returncode == 0
    assert "No errors detected." in finished.lines
    with written[0].open("rb") as disk:
        sector = disk.read(SECTOR)
    # The first partition's start: the root itself, or what guards a GPT from old programs.
    assert int.from_bytes(sector[454:458], "little") == (2048 if boot is BootMode.BIOS else 1)


@one_suite
def test_the_tree_is_left_as_it_was(tree: Path, tools: Path, tmp_path: Path) -> None:
    def looks() -> dict[Path, tuple[int, ...]]:
        found = {path: path.lstat() for path in [tree, *tree.rglob("*")]}
        return {
            path: (at.st_mode, at.st_uid, at.st_size, at.st_mtime_ns, at.st_ctime_ns)
            for path, at in found.items()
        }

    before = looks()
    write_disk(disk_request(tree, tools, tmp_path / "disk.raw", BootMode.UEFI), no_progress)
    assert looks() == before


def small_tree(folder: Path) -> Path:
    (folder / "boot").mkdir(parents=True)
    for name in (f"vmlinuz-{KERNEL}", f"initrd.img-{KERNEL}"):
        (folder / "boot" / name).write_text("none")
    (folder / "etc").mkdir()
    return folder


@one_suite
@pytest.mark.parametrize("missing", [f"vmlinuz-{KERNEL}", f"initrd.img-{KERNEL}"])
def test_a_missing_boot_file_is_named(tools: Path, tmp_path: Path, missing: str) -> None:
    tree = small_tree(tmp_path / "tree")
    (tree / "boot" / missing).unlink()
    name = missing if missing.startswith("initrd") else r"vmlinuz-\*"
    with pytest.raises(BuildFailed, match=f"no file /boot/{name}") as caught:
        write_disk(disk_request(tree, tools, tmp_path / "disk.raw", BootMode.BIOS), no_progress)
    assert caught.value.hint is not None


@one_suite
def test_a_disk_that_is_too_small_names_the_size_it_needs(tools: Path, tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    (tree / "big").write_bytes(b"x" * 520 * MIB)
    with pytest.raises(BuildFailed, match="512MiB given, 768MiB needed") as caught:
        write_disk(disk_request(tree, tools, tmp_path / "disk.raw", BootMode.UEFI), no_progress)
    assert caught.value.hint == "set `vm.size: 768MiB`"


@one_suite
def test_what_turns_out_too_small_while_writing_is_told_alike(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = small_tree(tmp_path / "tree")
    (tree / "big").write_bytes(b"x" * 520 * MIB)
    monkeypatch.setattr(disks, "fits", lambda _size, _usage: True)
    with pytest.raises(BuildFailed, match="512MiB given, 768MiB needed"):
        write_disk(disk_request(tree, tools, tmp_path / "disk.raw", BootMode.BIOS), no_progress)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tree"]


@one_suite
def test_a_full_builder_is_the_platform_s_fault(tools: Path, tmp_path: Path) -> None:
    tree, full = small_tree(tmp_path / "tree"), tmp_path / "full"
    (tree / "big").write_bytes(b"x" * 40 * MIB)
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(full)], check=True)
    try:
        with pytest.raises(PlatformError, match="no space left") as caught:
            write_disk(disk_request(tree, tools, full / "disk.raw", BootMode.BIOS), no_progress)
        assert list(full.iterdir()) == []
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert caught.value.hint == f"df -h {full}"


@one_suite
@pytest.mark.parametrize(
    "phase",
    [
        "measuring the files",
        "writing the boot loader",
        "writing the root file system",
        "setting the times of the root file system",
        "reading the disk back",
    ],
)
def test_cancelled_in_any_phase_nothing_is_left(
    tree: Path, tools: Path, tmp_path: Path, phase: str
) -> None:
    class Stop(Exception):
        pass

    def progress(phrase: str, _fraction: float | None) -> None:
        if phrase == phase:
            raise Stop

    target = tmp_path / "disk.raw"
    target.write_text("an older disk")
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(Stop):
        write_disk(disk_request(tree, tools, target, BootMode.BIOS), progress)
    assert list(tmp_path.iterdir()) == []
    assert set(psutil.Process().children(recursive=True)) <= before
