import gzip
import io
import lzma
import random
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fleetwide.bakery.entries import Budget
from fleetwide.errors import ArtifactRejected
from fleetwide.providers import read_ahead, tarballs
from fleetwide.providers.layers import plain_entries, write_layer
from fleetwide.providers.progress import no_progress
from fleetwide.providers.tarballs import unpack_tarball

ROOT = "/opt/app"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
}


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


@pytest.fixture
def unpack(tmp_path: Path) -> Callable[..., Path]:
    def run(*members: tuple[tarfile.TarInfo, bytes], packing: str = "gzip") -> Path:
        source = tmp_path / "app.tar"
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as archive:
            for info, content in members:
                archive.addfile(info, io.BytesIO(content))
        source.write_bytes(PACKERS[packing](plain.getvalue()))
        staging = tmp_path / "staging"
        unpack_tarball(source, "app.tar", staging, ROOT, no_progress)
        return staging / "opt/app"

    return run


@pytest.mark.parametrize("packing", sorted(PACKERS))
def test_each_compression_unpacks(unpack: Callable[..., Path], packing: str) -> None:
    tree = unpack(member("./bin/run", b"#!/bin/sh\n", mode=0o6755), packing=packing)
    assert (tree / "bin/run").read_bytes() == b"#!/bin/sh\n"
    assert (tree / "bin/run").stat().st_mode & 0o7777 == 0o755


SYM, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    "members",
    [
        [member("/etc/passwd", b"x")],
        [member("../out", b"x")],
        [member("link", type=SYM, linkname="/etc"), member("link/passwd", b"x")],
        [member("link", type=SYM, linkname="sub"), member("link/file", b"x")],
        [member("link", type=SYM, linkname="../../etc/passwd")],
        [member("link", type=HARD, linkname="../../etc/passwd")],
        [member("link", type=HARD, linkname="missing")],
        [member("itself", b"x"), member("itself", type=HARD, linkname="itself")],
        [member("s", type=SYM, linkname="."), member("link", type=HARD, linkname="s/../x")],
        [member("a/b", b"x"), member("a", b"y")],
        [member("n" * 256, b"x")],
        [member("s", type=SYM, linkname="."), member("link", type=HARD, linkname="s")],
        [member("node", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
        [member("disk", type=tarfile.BLKTYPE)],
        [member("pipe", type=tarfile.FIFOTYPE)],
        [
            member("a/b/up", type=SYM, linkname="../.."),
            member("x/y/out", type=SYM, linkname="../../a/b/up/../../../.."),
        ],
        [member("file", b"x"), member("file/below", b"x")],
        [member(".wh.passwd", b"")],
        [],
    ],
)
def test_unsafe_archives_are_refused(
    unpack: Callable[..., Path], members: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactRejected, match=r"^app\.tar"):
        unpack(*members)
    assert not (tmp_path / "out").exists()


def test_links_that_leave_by_way_of_links_are_refused(unpack: Callable[..., Path]) -> None:
    with pytest.raises(ArtifactRejected, match="leaves the tree"):
        unpack(
            member("a/b/c/top", type=SYM, linkname="../../.."),
            member("x/out", type=SYM, linkname="../a/b/c/top/../y"),
        )


def test_links_within_are_kept(unpack: Callable[..., Path]) -> None:
    tree = unpack(
        member("lib/one", b"1"),
        member("bin/rel", type=SYM, linkname="../lib/one"),
        member("bin/abs", type=SYM, linkname="/opt/app/lib/one"),
        member("bin/hard", type=HARD, linkname="lib/one"),
    )
    assert {(tree / "bin" / name).read_bytes() for name in ("rel", "abs", "hard")} == {b"1"}
    assert not (tree / "bin/abs").readlink().is_absolute()


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "x"
    source.write_bytes(b"\x1f\x8b" + b"nonsense")
    with pytest.raises(ArtifactRejected, match="not a readable"):
        unpack_tarball(source, "x", tmp_path / "s", ROOT, no_progress)


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "x.tar"
    info, content = member("big", random.Random(1).randbytes(100_000))
    with tarfile.open(source, "w:gz") as archive:
        archive.addfile(info, io.BytesIO(content))
    source.write_bytes(source.read_bytes()[:-2000])
    with pytest.raises(ArtifactRejected, match="not a readable"):
        unpack_tarball(source, "x.tar", tmp_path / "s", ROOT, no_progress)


def test_a_huge_header_is_refused_before_it_is_read(unpack: Callable[..., Path]) -> None:
    with pytest.raises(ArtifactRejected, match="one of its headers has"):
        unpack(member("file", b"x", pax_headers={"comment": "x" * 5_000_000}))


def test_too_many_entries_are_refused(
    unpack: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarballs, "Budget", partial(Budget, max_entries=3))
    with pytest.raises(ArtifactRejected, match="entry 'f3' has more than 3 entries"):
        unpack(*(member(f"f{number}") for number in range(5)))


def test_too_many_bytes_are_refused_before_they_are_written(
    unpack: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tarballs, "Budget", partial(Budget, max_bytes=1000))
    with pytest.raises(ArtifactRejected, match="entry 'zeros' has more than 1000 bytes unpacked"):
        unpack(member("zeros", bytes(1_000_000)))
    assert not (tmp_path / "staging/opt/app/zeros").exists()


def test_an_xz_that_asks_for_too_much_memory_is_refused(
    unpack: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_ahead, "MAX_XZ_MEMORY", 1024 * 1024)
    with pytest.raises(ArtifactRejected, match="not a readable"):
        unpack(member("file", b"x"), packing="xz")


def test_an_xz_of_several_streams_unpacks(tmp_path: Path) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        info, content = member("big", random.Random(1).randbytes(3_000_000))
        archive.addfile(info, io.BytesIO(content))
    whole = plain.getvalue()
    source = tmp_path / "x.tar.xz"
    source.write_bytes(lzma.compress(whole[:1_000_000]) + lzma.compress(whole[1_000_000:]))
    unpack_tarball(source, "x", tmp_path / "s", ROOT, no_progress)
    assert (tmp_path / "s/opt/app/big").read_bytes() == content


class Cancelled(Exception):
    pass


def test_cancel_comes_through(tmp_path: Path) -> None:
    source = tmp_path / "x.tar"
    info, content = member("big", bytes(5_000_000))
    with tarfile.open(source, "w") as archive:
        archive.addfile(info, io.BytesIO(content))

    def cancel(_phrase: str, _fraction: float | None) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        unpack_tarball(source, "x", tmp_path / "s", ROOT, cancel)


def test_the_same_tree_gives_the_same_layer(unpack: Callable[..., Path], tmp_path: Path) -> None:
    tree = unpack(
        member("b/two", b"2", mtime=5),
        member("a", b"1", mode=0o777),
        member("l", type=SYM, linkname="a"),
    )
    staging = tree.parent.parent
    layers = []
    for number in range(2):
        (tree / "a").touch()
        target = tmp_path / f"{number}.tar"
        write_layer(plain_entries(staging, 1000), target, no_progress)
        layers.append(target.read_bytes())
    assert layers[0] == layers[1]
    with tarfile.open(tmp_path / "0.tar") as archive:
        found = {one.name: one for one in archive}
    assert list(found) == ["opt", "opt/app", "opt/app/a", "opt/app/b", "opt/app/b/two", "opt/app/l"]
    assert {one.mtime for one in found.values()} == {1000}
    assert {(one.uid, one.gid) for one in found.values()} == {(0, 0)}
    assert found["opt/app/l"].linkname == "a"
