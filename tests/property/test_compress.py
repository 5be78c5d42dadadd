import gzip
import hashlib
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.providers.compress import BLOCK_BYTES, compress_layer
from fleetwide.providers.progress import no_progress


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
