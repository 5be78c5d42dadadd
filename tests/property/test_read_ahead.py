"""What is read ahead is what the libraries read, to the last byte and the last error."""

import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwide.providers import read_ahead
from fleetwide.providers.read_ahead import ReadAhead, gunzipped, unxzed

KINDS: list[tuple[Callable[[bytes], bytes], Callable[[BinaryIO], Iterator[bytes]]]] = [
    (gzip.compress, gunzipped),
    (lzma.compress, unxzed),
]
members = st.lists(st.binary(max_size=300) | st.builds(bytes, st.integers(0, 5000)), min_size=1)


def read_all(packed: bytes, unpack: Callable[[BinaryIO], Iterator[bytes]]) -> bytes:
    source = io.BytesIO(packed)
    with ReadAhead(unpack(source), source) as reader:
        found = bytearray()
        while piece := reader.read(100):
            found += piece
        assert reader.tell() == len(found)
    assert source.closed
    return bytes(found)


@pytest.fixture(autouse=True, params=[64, 1000], ids=["small pieces", "larger pieces"])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "PIECE_BYTES", request.param)


@pytest.mark.parametrize(("pack", "unpack"), KINDS)
@given(parts=members, padding=st.integers(0, 100))
def test_members_and_the_zeros_behind_them_are_read(
    pack: Callable[[bytes], bytes],
    unpack: Callable[[BinaryIO], Iterator[bytes]],
    parts: list[bytes],
    padding: int,
) -> None:
    packed = b"".join(pack(part) for part in parts) + bytes(4 * padding)
    assert read_all(packed, unpack) == b"".join(parts)


@pytest.mark.parametrize(("pack", "unpack"), KINDS)
@given(content=st.binary(min_size=1, max_size=300), data=st.data())
def test_a_file_that_ends_in_the_middle_is_told(
    pack: Callable[[bytes], bytes],
    unpack: Callable[[BinaryIO], Iterator[bytes]],
    content: bytes,
    data: st.DataObject,
) -> None:
    packed = pack(content)
    end = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(EOFError):
        read_all(packed[:end], unpack)


@pytest.mark.parametrize(("pack", "unpack"), KINDS)
@given(content=st.binary(max_size=300), rest=st.binary(min_size=1, max_size=200))
def test_what_follows_and_is_no_member_is_told(
    pack: Callable[[bytes], bytes],
    unpack: Callable[[BinaryIO], Iterator[bytes]],
    content: bytes,
    rest: bytes,
) -> None:
    with pytest.raises((EOFError, zlib.error, lzma.LZMAError)):
        read_all(pack(content) + b"\x01" + rest, unpack)


@given(content=st.binary(max_size=2000), steps=st.lists(st.integers(0, 300), max_size=10))
def test_going_forward_is_as_in_a_plain_file(content: bytes, steps: list[int]) -> None:
    source, plain = io.BytesIO(gzip.compress(content)), io.BytesIO(content)
    with ReadAhead(gunzipped(source), source) as reader:
        for step in steps:
            place = min(plain.tell() + step, len(content))
            assert reader.seek(place) == plain.seek(place)
            assert reader.read(step) == plain.read(step)
