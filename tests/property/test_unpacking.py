"""Whatever an archive holds: nothing lands outside, and what is taken is the same every time."""

import io
import stat
import tarfile
import tempfile
import zipfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.errors import ArtifactRejected
from fleetwide.providers.layers import plain_entries
from fleetwide.providers.progress import no_progress
from fleetwide.providers.tarballs import unpack_tarball
from fleetwide.providers.zips import unpack_zip

PARTS = st.sampled_from(["a", "b", "..", ".", "", "/", "etc", "a/b", ".wh.a", "\\", "ä", "x" * 200])
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
KINDS = st.sampled_from(["file", "folder", "link", "hard link", "device"])
ENTRIES = st.lists(st.tuples(KINDS, NAMES, NAMES), max_size=8)
TAR_TYPES = {
    "file": tarfile.REGTYPE,
    "folder": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
}
ZIP_TYPES = {
    "file": stat.S_IFREG,
    "folder": stat.S_IFDIR,
    "link": stat.S_IFLNK,
    "hard link": stat.S_IFREG,
    "device": stat.S_IFCHR,
}
Entries = list[tuple[str, str, str]]


def write_tar(path: Path, entries: Entries) -> None:
    with tarfile.open(path, "w") as archive:
        for kind, name, target in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = TAR_TYPES[kind], target
            info.size = 1 if kind == "file" else 0
            archive.addfile(info, io.BytesIO(b"x"))


def write_zip(path: Path, entries: Entries) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for kind, name, target in dict.fromkeys(entries):
            info = zipfile.ZipInfo(name + ("/" if kind == "folder" else ""))
            info.create_system, info.external_attr = 3, ZIP_TYPES[kind] << 16
            if info.filename not in archive.NameToInfo:
                archive.writestr(info, target if kind == "link" else "")


def check(folder: Path, entries: Entries, kind: str) -> None:
    write, unpack = (write_tar, unpack_tarball) if kind == "tar" else (write_zip, unpack_zip)
    archive = folder / "archive"
    write(archive, entries)
    taken = []
    for number in range(2):
        home = folder / f"home-{number}"
        home.mkdir()
        try:
            unpack(archive, "app", home / "staging", "/opt/app", no_progress)
        except ArtifactRejected as error:
            taken.append(str(error))
        else:
            found = plain_entries(home / "staging", 1)
            taken.append(str(sorted((one.path, one.mode) for one in found)))
        assert {one.name for one in home.iterdir()} == {"staging"}
        assert {one.name for one in (home / "staging").iterdir()} == {"opt"}
        assert {one.name for one in (home / "staging/opt").iterdir()} == {"app"}
    assert taken[0] == taken[1]
    assert {one.name for one in folder.iterdir()} == {"archive", "home-0", "home-1"}


@settings(deadline=None, max_examples=150)
@given(ENTRIES)
def test_a_tar_lands_in_its_folder_or_nowhere(entries: Entries) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), entries, "tar")


@settings(deadline=None, max_examples=150)
@given(ENTRIES)
def test_a_zip_lands_in_its_folder_or_nowhere(entries: Entries) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), entries, "zip")


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=2000), st.integers(0, 600))
def test_nonsense_is_refused_in_our_own_words(data: bytes, place: int) -> None:
    """Also inside an archive that begins well."""
    with tempfile.TemporaryDirectory() as folder:
        for kind, write, unpack in (
            ("tar", write_tar, unpack_tarball),
            ("zip", write_zip, unpack_zip),
        ):
            archive = Path(folder, kind)
            write(archive, [("file", "a", ""), ("link", "b", "a")])
            whole = archive.read_bytes()
            archive.write_bytes(whole[:place] + data + whole[place + len(data) :])
            try:
                unpack(archive, "app", Path(folder, f"{kind}-out"), "/opt/app", no_progress)
            except ArtifactRejected:
                continue
