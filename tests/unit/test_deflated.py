import gzip
import hashlib
import random
import subprocess
import tarfile
import zipfile
import zlib
from pathlib import Path
from unittest import mock

import pytest

from fleetwide.providers import deflated
from fleetwide.providers.deflated import Deflated, EntryReader, gzip_member
from fleetwide.providers.layers import pack_layer, plain_entries, write_layer
from fleetwide.providers.progress import no_progress
from fleetwide.providers.zips import unpack_zip

CONTENT = random.Random(1).randbytes(40_000) + b"the same words again " * 20_000


def written(path: Path, data: bytes, compression: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("data", data)
    return entry_of(path)


def entry_of(path: Path) -> zipfile.ZipInfo:
    with zipfile.ZipFile(path) as archive:
        return archive.getinfo("data")


def unpacked(path: Path, entry: zipfile.ZipInfo) -> tuple[bytes, Deflated | None]:
    found = bytearray()
    with EntryReader(path) as reader:
        answer = reader.unpack(entry, found.extend)
    return bytes(found), answer


def with_stream(path: Path, stream: bytes, data: bytes = CONTENT) -> zipfile.ZipInfo:
    """A zip whose entry's packed bytes are ``stream``, which is said to inflate to ``data``."""
    written(path, stream, zipfile.ZIP_STORED)
    entry = entry_of(path)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.file_size, entry.CRC = len(data), zlib.crc32(data)
    return entry


def stream_of(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def trailer_of(data: bytes) -> bytes:
    return gzip.compress(data)[-8:]


@pytest.fixture(params=[deflated.MAX_AT_ONCE, 1000], ids=["at once", "in pieces"])
def _in_both_ways(request: pytest.FixtureRequest) -> object:
    with mock.patch.object(deflated, "MAX_AT_ONCE", request.param):
        yield


both_ways = pytest.mark.usefixtures("_in_both_ways")


@both_ways
def test_a_deflated_entry_is_a_gzip_member(tmp_path: Path) -> None:
    found, stream = unpacked(tmp_path / "a.zip", written(tmp_path / "a.zip", CONTENT))
    assert found == CONTENT
    assert stream is not None
    assert gzip.decompress(b"".join(gzip_member(stream))) == CONTENT


@both_ways
@pytest.mark.parametrize("data", [b"", b"short", b"0" * 100_000])
def test_what_is_short_is_unpacked_and_packed_anew(tmp_path: Path, data: bytes) -> None:
    assert unpacked(tmp_path / "a.zip", written(tmp_path / "a.zip", data)) == (data, None)


def test_what_is_stored_is_unpacked_and_packed_anew(tmp_path: Path) -> None:
    entry = written(tmp_path / "a.zip", CONTENT, zipfile.ZIP_STORED)
    assert unpacked(tmp_path / "a.zip", entry) == (CONTENT, None)


@both_ways
@pytest.mark.parametrize(
    "behind", [b"\0", b"behind it", trailer_of(CONTENT), trailer_of(CONTENT) + b"more"]
)
def test_a_stream_that_something_follows_never_gets_into_a_layer(
    tmp_path: Path, behind: bytes
) -> None:
    entry = with_stream(tmp_path / "a.zip", stream_of(CONTENT) + behind)
    assert unpacked(tmp_path / "a.zip", entry) == (CONTENT, None)


@both_ways
@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (stream_of(CONTENT), CONTENT[:-1]),
        (stream_of(CONTENT), CONTENT + b"1"),
        (stream_of(CONTENT), CONTENT[:-1] + b"!"),
        (stream_of(CONTENT)[:-1], CONTENT),
        (b"\xff" * 5000, CONTENT),
    ],
)
def test_an_entry_that_is_not_as_it_says_is_refused(
    tmp_path: Path, stream: bytes, data: bytes
) -> None:
    entry = with_stream(tmp_path / "a.zip", stream, data)
    with pytest.raises((zipfile.BadZipFile, zlib.error, EOFError)):
        unpacked(tmp_path / "a.zip", entry)


def test_a_local_header_of_another_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    entry = written(path, CONTENT)
    path.write_bytes(path.read_bytes().replace(b"data", b"date", 1))
    with pytest.raises(zipfile.BadZipFile, match="data is not where the archive says"):
        unpacked(path, entry)


def test_a_layer_takes_streams_over_and_has_the_bytes_of_the_tar(tmp_path: Path) -> None:
    """Others read it as any layer, and the digests are those of what lies there."""
    rng = random.Random(2)
    files = {f"lib/{n}": rng.randbytes(rng.randint(0, 9000)) + b"same" * n for n in range(60)}
    files |= {"big": CONTENT * 8, "empty": b""}
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    staging = tmp_path / "staging"
    streams = unpack_zip(tmp_path / "a.zip", "a.zip", staging, "/opt/app", no_progress)
    assert str(staging / "opt/app/big") in streams
    entries = plain_entries(staging, 1000, streams)
    write_layer(entries, tmp_path / "plain.tar", no_progress)
    packed = pack_layer(entries, tmp_path / "layer.tar.gz", no_progress)
    stored, plain = packed.path.read_bytes(), (tmp_path / "plain.tar").read_bytes()
    assert gzip.decompress(stored) == plain
    assert packed.layer.digest == "sha256:" + hashlib.sha256(stored).hexdigest()
    assert packed.layer.diff_id == "sha256:" + hashlib.sha256(plain).hexdigest()
    assert (packed.layer.size, packed.uncompressed_size) == (len(stored), len(plain))
    assert b"".join(gzip_member(streams[str(staging / "opt/app/big")])) in stored
    subprocess.run(["gzip", "-t", str(packed.path)], check=True)
    with tarfile.open(packed.path) as archive_of_layer:
        reader = archive_of_layer.extractfile("opt/app/big")
        assert reader is not None
        assert reader.read() == CONTENT * 8
