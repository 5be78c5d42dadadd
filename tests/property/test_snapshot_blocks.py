import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwide.baseos.snapshot_blocks import (
    BLOCKS_PER_GIB,
    ZEROS_SHA256,
    BlockManifest,
    block_checksum,
    blocks_to_send,
    decode_manifest,
    encode_manifest,
    linear_checksum,
)
from fleetwide.errors import InvalidInput

GIB = 1024**3
# Few indexes and few contents, so that the same ones meet often.
HASHES = st.sampled_from([hashlib.sha256(bytes([number])).hexdigest() for number in range(3)])
BLOCKS = st.dictionaries(st.integers(0, 9), HASHES)


def manifest_of(blocks: dict[int, str], size: int = GIB) -> BlockManifest:
    return BlockManifest(disk_bytes=size, blocks=blocks)


@given(BLOCKS, BLOCKS)
def test_what_is_sent_turns_the_parent_into_the_disk(
    new: dict[int, str], old: dict[int, str]
) -> None:
    disk, parent = manifest_of(new), manifest_of(old)
    sent = blocks_to_send(disk, parent)
    result = {**old, **{index: disk.sha256_of(index) for index in sent}}
    for index in range(10):
        assert result.get(index, ZEROS_SHA256) == disk.sha256_of(index)
    assert sent == sorted(set(sent))
    assert not [index for index in sent if parent.sha256_of(index) == disk.sha256_of(index)]


@given(BLOCKS)
def test_without_a_parent_all_but_zeros_is_sent(blocks: dict[int, str]) -> None:
    assert blocks_to_send(manifest_of(blocks)) == sorted(blocks)


@given(BLOCKS, st.integers(1, 64 * GIB))
def test_a_manifest_survives_being_kept(blocks: dict[int, str], size: int) -> None:
    manifest = manifest_of(blocks, size)
    assert decode_manifest(encode_manifest(manifest)) == manifest
    assert (manifest.volume_gib - 1) * GIB < size <= manifest.volume_gib * GIB


@given(st.integers(1, 8 * GIB), st.integers(1, 8 * GIB))
def test_a_child_is_never_smaller_than_its_parent(child: int, parent: int) -> None:
    disk, before = manifest_of({}, child), manifest_of({}, parent)
    if before.volume_gib <= disk.volume_gib:
        assert blocks_to_send(disk, before) == []
    else:
        with pytest.raises(InvalidInput, match="parent"):
            blocks_to_send(disk, before)


@given(st.lists(st.binary(min_size=1, max_size=8)))
def test_the_linear_checksum_is_over_the_raw_digests(contents: list[bytes]) -> None:
    digests = [hashlib.sha256(content).digest() for content in contents]
    expected = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
    assert linear_checksum(digest.hex() for digest in digests) == expected
    assert block_checksum(ZEROS_SHA256) == base64.b64encode(bytes.fromhex(ZEROS_SHA256)).decode()


@pytest.mark.parametrize("data", [b"", b"{}", b'{"disk_bytes": 1, "blocks": {"0": "no hash"}}'])
def test_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="manifest"):
        decode_manifest(data)


def test_a_gib_in_blocks() -> None:
    assert BLOCKS_PER_GIB == 2048
