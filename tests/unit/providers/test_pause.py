import io
import struct
import tarfile

import pytest

from fleetwide.providers.pause import program, root_tar


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_it_is_a_static_program_whose_segment_holds_its_entry(machine: str, number: int) -> None:
    data = program(machine)
    assert data[:5] == b"\x7fELF\x02"
    kind, found, _, entry, headers = struct.unpack_from("<HHIQQ", data, 16)
    assert (kind, found, headers) == (2, number, 64)
    load, flags, offset, start, _, size, _, _ = struct.unpack_from("<IIQQQQQQ", data, headers)
    assert (load, flags, offset, size) == (1, 5, 0, len(data))
    assert start < entry < start + size


def test_the_image_is_the_same_bytes_each_time() -> None:
    assert root_tar("x86_64") == root_tar("x86_64")
    with tarfile.open(fileobj=io.BytesIO(root_tar("x86_64"))) as root:
        assert root.getnames() == ["pause"]
