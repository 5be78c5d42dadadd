import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetwide.errors import BuildFailed
from fleetwide.providers.root_tree import RootTree

CANARY = "of the builder"
ME = {"uid": os.getuid(), "gid": os.getgid()}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the builder with files that nobody may read, change or remove."""
    folder = tmp_path / "outside"
    for name in ("motd", "machine-id", "ssh_host_rsa_key", "app.log"):
        (folder / "deep").mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(CANARY)
        (folder / "deep" / name).write_text(CANARY)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    return folder


@pytest.fixture
def files(root: Path) -> Iterator[RootTree]:
    with RootTree(root) as opened:
        yield opened


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (path.read_text(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def ways_out(root: Path, outside: Path) -> dict[str, str]:
    """Targets of links that lead from ``/name`` of the tree to the outside, for a naive reader."""
    up = "/".join([".."] * 40)
    return {
        "absolute": str(outside),
        "upwards": f"{up}{outside}",
        "beside": f"../{outside.name}",
        "through-proc": f"/proc/{os.getpid()}/root{outside}",
        "through-a-descriptor": f"/proc/{os.getpid()}/cwd",
    }


WAYS = ["absolute", "upwards", "beside", "through-proc", "through-a-descriptor"]


@pytest.mark.parametrize("way", WAYS)
def test_no_link_leads_out(root: Path, outside: Path, files: RootTree, way: str) -> None:
    before = contents(outside)
    (root / "etc").symlink_to(ways_out(root, outside)[way])
    assert files.read("/etc/motd") is None
    assert files.text("/etc/motd") == ""
    assert files.names("/etc") == []
    assert list(files.files("/etc")) == []
    assert not files.exists("/etc/motd")
    files.remove("/etc/motd")
    with pytest.raises(FileNotFoundError):
        files.truncate("/etc/motd")
    with pytest.raises(FileNotFoundError):
        files.append("/etc/motd", "more")
    with pytest.raises(FileNotFoundError):
        files.rewrite("/etc/motd", b"other")
    assert contents(outside) == before


@pytest.mark.parametrize("way", ["absolute", "upwards", "beside", "through-proc"])
def test_what_is_written_through_a_link_lands_inside(
    root: Path, outside: Path, files: RootTree, way: str
) -> None:
    """The link's target exists in the tree as well, as it would for a program inside."""
    before = contents(outside)
    target = ways_out(root, outside)[way]
    (root / "etc").symlink_to(target)
    lands = root / os.path.normpath(f"/{target}").lstrip("/")
    lands.mkdir(parents=True)
    files.write("/etc/motd", b"hello", **ME)
    files.make_folder("/etc/sub", mode=0o700, **ME)
    files.link("/etc/link", "/anywhere")
    files.write("/etc/new/deep/file", b"deep", **ME)
    assert (lands / "motd").read_bytes() == b"hello"
    assert (lands / "new/deep/file").read_bytes() == b"deep"
    assert (lands / "link").readlink() == Path("/anywhere")
    assert stat.S_IMODE((lands / "sub").stat().st_mode) == 0o700
    files.append("/etc/motd", " you")
    assert files.text("/etc/motd") == "hello you"
    files.remove("/etc/motd")
    assert sorted(path.name for path in lands.iterdir()) == ["link", "new", "sub"]
    assert contents(outside) == before


def test_a_link_to_nowhere_is_not_followed_to_make_something(
    root: Path, outside: Path, files: RootTree
) -> None:
    (root / "etc").symlink_to(outside / "new")
    with pytest.raises((OSError, BuildFailed)):
        files.write("/etc/motd", b"hello", **ME)
    assert not (outside / "new").exists()
    assert [path.name for path in root.iterdir()] == ["etc"]


def test_a_file_takes_the_place_of_a_link_and_never_its_target(
    root: Path, outside: Path, files: RootTree
) -> None:
    before = contents(outside)
    (root / "motd").symlink_to(outside / "motd")
    files.write("/motd", b"ours", **ME)
    assert not (root / "motd").is_symlink()
    assert (root / "motd").read_bytes() == b"ours"
    (root / "again").symlink_to(outside / "motd")
    files.link("/again", "motd")
    assert (root / "again").readlink() == Path("motd")
    assert contents(outside) == before


def test_removing_a_link_leaves_its_target(root: Path, files: RootTree) -> None:
    (root / "kept").write_text("kept")
    (root / "link").symlink_to("kept")
    files.remove("/link")
    assert [path.name for path in root.iterdir()] == ["kept"]


def test_folders_are_not_entered_by_links(root: Path, outside: Path, files: RootTree) -> None:
    (root / "var/log").mkdir(parents=True)
    (root / "var/log/real").write_text("x")
    (root / "var/log/folder").symlink_to("/etc")
    (root / "var/log/away").symlink_to(outside)
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("x")
    assert list(files.files("/var/log")) == ["/var/log/real"]


def test_special_files_are_neither_read_nor_waited_for(root: Path, files: RootTree) -> None:
    os.mkfifo(root / "fifo")
    assert files.read("/fifo") is None
    assert list(files.files("/")) == []


def test_links_in_a_circle_are_the_image_s_fault(root: Path, files: RootTree) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(BuildFailed, match="too many symbolic links"):
        files.read("/a/file")


def test_modes_are_those_asked_for_whatever_the_umask(root: Path, files: RootTree) -> None:
    before = os.umask(0o077)
    try:
        files.write("/new/folder/file", b"x", mode=0o664, **ME)
        files.make_folder("/home/app", mode=0o750, **ME)
    finally:
        os.umask(before)
    modes = {
        name: stat.S_IMODE((root / name).stat().st_mode)
        for name in ("new", "new/folder", "new/folder/file", "home", "home/app")
    }
    assert list(modes.values()) == [0o755, 0o755, 0o664, 0o755, 0o750]


def test_what_stays_keeps_owner_and_mode(root: Path, files: RootTree) -> None:
    path = root / "shadow"
    path.write_text("root:*:1\n")
    path.chmod(0o640)
    files.append("/shadow", "app:*:1\n")
    files.rewrite("/shadow", b"other\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    files.truncate("/shadow")
    assert path.stat().st_size == 0


def test_renames_elsewhere_on_the_machine_disturb_nobody(root: Path, files: RootTree) -> None:
    """``..`` below a root cannot be resolved while anything is renamed; openat2 then says EAGAIN."""
    (root / "etc").mkdir()
    (root / "etc/file").write_text("x")
    (root / "link").symlink_to("../../etc")
    (root / "old").touch()
    renaming = "import os\nwhile True: os.rename('old', 'new'); os.rename('new', 'old')"
    with subprocess.Popen([sys.executable, "-c", renaming], cwd=root) as busy:
        try:
            assert {files.read("/link/file") for _ in range(20_000)} == {b"x"}
        finally:
            busy.kill()


def test_a_folder_is_not_removed(root: Path, files: RootTree) -> None:
    (root / "etc").mkdir()
    files.remove("/etc")
    with pytest.raises(IsADirectoryError):
        files.write("/etc", b"x", **ME)
    assert (root / "etc").is_dir()


def test_bytes_that_are_no_text_pass_through(root: Path, files: RootTree) -> None:
    (root / "passwd").write_bytes(b"r\xe9sum\xe9\n")
    files.append("/passwd", files.text("/passwd"))
    assert (root / "passwd").read_bytes() == b"r\xe9sum\xe9\n" * 2
