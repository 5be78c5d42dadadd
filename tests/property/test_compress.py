import gzip
import hashlib
import random
import subprocess
import tarfile
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.providers.compress import BLOCK_BYTES, FastMembers, compress_layer, packing
from fleetwide.providers.layers import pack_layer, plain_entries, write_layer
from fleetwide.providers.progress import no_progress

BAKED = "sha256:c8b7bf42bde3c83741719e27f5d2ac37d10321a161693679061f20000b6b70a9"


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 20_000))
def test_any_input_survives_and_its_digests_are_right(unit: bytes, times: int) -> None:
    data = unit * times
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in"), Path(folder, "out")
        source.write_bytes(data)
        packed = compress_layer(source, target, no_progress)
        stored = target.read_bytes()
    assert gzip.decompress(stored) == data
    assert packed.layer.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    assert packed.layer.digest == "sha256:" + hashlib.sha256(stored).hexdigest()
    assert (packed.layer.size, packed.uncompressed_size) == (len(stored), len(data))


@settings(max_examples=10, deadline=None)
@given(st.binary(min_size=1, max_size=100))
def test_the_bytes_do_not_depend_on_the_number_of_cores(unit: bytes) -> None:
    digests = set()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in"), Path(folder, "out")
        source.write_bytes((unit * (5 * BLOCK_BYTES // len(unit)))[:-1])
        for cores in (1, 4):
            with mock.patch("os.cpu_count", return_value=cores):
                digests.add(compress_layer(source, target, no_progress).layer.digest)
    assert len(digests) == 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=200), st.integers(0, 20_000)), max_size=5))
def test_what_is_packed_fast_piece_by_piece_survives(pieces: list[tuple[bytes, int]]) -> None:
    data = b"".join(unit * times for unit, times in pieces)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "out")
        with packing(target, FastMembers()) as packer:
            for unit, times in pieces:
                packer.write(unit * times)
            layer = packer.finish()
        stored = target.read_bytes()
    assert gzip.decompress(stored) == data
    assert layer.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    assert layer.digest == "sha256:" + hashlib.sha256(stored).hexdigest()


def _tree(folder: Path) -> Path:
    rng = random.Random(1)
    tree = folder / "tree"
    (tree / "opt/app").mkdir(parents=True)
    (tree / "opt/app/dense").write_bytes(rng.randbytes(3_000_000))
    (tree / "opt/app/loose").write_bytes(b"the same words again " * 150_000)
    (tree / "opt/app/link").symlink_to("dense")
    return tree


def test_a_layer_packed_while_it_is_made_is_the_tar_that_is_written(tmp_path: Path) -> None:
    entries = plain_entries(_tree(tmp_path), 1000)
    write_layer(entries, tmp_path / "layer.tar", no_progress)
    packed = pack_layer(entries, tmp_path / "layer.tar.gz", no_progress)
    plain = (tmp_path / "layer.tar").read_bytes()
    assert gzip.decompress(packed.path.read_bytes()) == plain
    assert packed.uncompressed_size == len(plain)


def test_a_layer_is_the_same_on_any_number_of_cores_and_read_by_gzip_and_tar(
    tmp_path: Path,
) -> None:
    entries = plain_entries(_tree(tmp_path), 1000)
    digests = set()
    for cores in (1, 2, 7):
        with mock.patch("os.cpu_count", return_value=cores):
            packed = pack_layer(entries, tmp_path / "layer.tar.gz", no_progress)
        digests.add(packed.layer.digest)
    assert len(digests) == 1
    subprocess.run(["gzip", "-t", str(packed.path)], check=True)
    with tarfile.open(packed.path) as archive:
        assert "opt/app/loose" in archive.getnames()


def test_layers_of_bakes_have_the_bytes_that_their_keys_stand_for(tmp_path: Path) -> None:
    """With other bytes, after an update of the library too, ``SCHEMA_VERSION`` must be raised."""
    packed = pack_layer(plain_entries(_tree(tmp_path), 1000), tmp_path / "layer", no_progress)
    assert packed.layer.digest == BAKED
