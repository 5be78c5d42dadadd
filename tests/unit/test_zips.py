import io
import random
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetwide.bakery import entries
from fleetwide.errors import ArtifactRejected
from fleetwide.providers import zips
from fleetwide.providers.progress import no_progress
from fleetwide.providers.zips import unpack_zip

ROOT = "/opt/app"
Unpack = Callable[..., Path]


def entry(
    name: str, content: bytes | str = b"", mode: int = 0o644
) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (mode if stat.S_IFMT(mode) else stat.S_IFREG | mode) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info, content.encode() if isinstance(content, str) else content


LINK = stat.S_IFLNK | 0o777


@pytest.fixture
def unpack(tmp_path: Path) -> Unpack:
    def run(*members: tuple[zipfile.ZipInfo, bytes]) -> Path:
        source = tmp_path / "app.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for info, content in members:
                archive.writestr(info, content)
        return unpacked(source, tmp_path / "staging")

    return run


def unpacked(source: Path, staging: Path) -> Path:
    unpack_zip(source, "app.zip", staging, ROOT, no_progress)
    return staging / "opt/app"


def test_files_folders_and_modes_unpack(unpack: Unpack) -> None:
    tree = unpack(
        entry("empty/", mode=stat.S_IFDIR | 0o755),
        entry("bin/run", "#!/bin/sh\n", mode=0o6755),
        entry("data", "x"),
        entry("link", "bin/run", LINK),
    )
    assert (tree / "empty").is_dir()
    assert (tree / "bin/run").stat().st_mode & 0o7777 == 0o755
    assert (tree / "data").stat().st_mode & 0o7777 == 0o644
    assert (tree / "link").readlink() == Path("bin/run")


@pytest.mark.parametrize(
    "members",
    [
        [entry("/etc/passwd")],
        [entry("../out")],
        [entry("a\\..\\out")],
        [entry("a" * 256)],
        [entry("link", "/etc", LINK), entry("link/passwd")],
        [entry("link", "sub", LINK), entry("link/file")],
        [entry("link", "../../etc/passwd", LINK)],
        [entry("link", "", LINK)],
        [entry("link", "a\0b", LINK)],
        [entry("link", "x" * 5000, LINK)],
        [entry("up", ".", LINK), entry("b/c/out", "../../up/../..", LINK)],
        [entry("node", mode=stat.S_IFCHR | 0o666)],
        [entry("pipe", mode=stat.S_IFIFO | 0o666)],
        [entry("file", "x"), entry("file/below", "x")],
        [entry("folder/", mode=stat.S_IFDIR | 0o755), entry("./folder", "x")],
        [entry(".wh.passwd")],
        [],
    ],
)
def test_unsafe_archives_are_refused(
    unpack: Unpack, members: list[tuple[zipfile.ZipInfo, bytes]], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactRejected, match=r"^app\.zip"):
        unpack(*members)
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_there_twice_is_refused(unpack: Unpack) -> None:
    with pytest.raises(ArtifactRejected, match="another entry has"):
        unpack(entry("same", "1"), entry("./same", "2"))


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "app.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr(*entry("secret", "x"))
    data = bytearray(source.read_bytes())
    # The flags of the entry in the central directory.
    data[data.index(b"PK\x01\x02") + 8] |= 1
    source.write_bytes(data)
    with pytest.raises(ArtifactRejected, match="encrypted"):
        unpacked(source, tmp_path / "staging")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compressions_are_refused(unpack: Unpack, method: int) -> None:
    info, content = entry("file", "x")
    info.compress_type = method
    with pytest.raises(ArtifactRejected, match="other than deflate"):
        unpack((info, content))


def test_a_bomb_is_refused_before_it_is_unpacked(unpack: Unpack, tmp_path: Path) -> None:
    with pytest.raises(ArtifactRejected, match="bytes unpacked"):
        unpack(entry("zeros", bytes(entries.RATIO_FLOOR_BYTES + 1)))
    assert list((tmp_path / "staging/opt/app").iterdir()) == []


def test_a_huge_directory_is_refused_before_it_is_read(
    unpack: Unpack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zips, "MAX_DIRECTORY_BYTES", 100)
    with pytest.raises(ArtifactRejected, match="one of its headers has"):
        unpack(*(entry(f"file-{number}") for number in range(10)))


def test_an_entry_that_holds_more_than_it_says_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "app.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr(*entry("file", b"x" * 1000))
    data = bytearray(source.read_bytes())
    directory = data.index(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = struct.pack("<L", 10)
    source.write_bytes(data)
    with pytest.raises(ArtifactRejected, match="not a readable zip"):
        unpacked(source, tmp_path / "staging")


def test_what_is_cut_off_is_refused(tmp_path: Path) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(*entry("big", random.Random(1).randbytes(100_000)))
    source = tmp_path / "app.zip"
    for size in (0, 10, 50_000, len(whole.getvalue()) - 4):
        source.write_bytes(whole.getvalue()[:size])
        with pytest.raises(ArtifactRejected, match="not a readable zip"):
            unpacked(source, tmp_path / f"staging-{size}")


class Cancelled(Exception):
    pass


def test_cancel_comes_through(tmp_path: Path) -> None:
    source = tmp_path / "app.zip"
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr(*entry("big", bytes(3_000_000)))

    def cancel(_phrase: str, _fraction: float | None) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        unpack_zip(source, "app.zip", tmp_path / "staging", ROOT, cancel)
