import tarfile

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.providers.tar_headers import ending, header_of, padding

KINDS = [
    tarfile.REGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
]
NAMES = st.text(
    st.characters(min_codepoint=1, max_codepoint=127, exclude_characters="/"), min_size=1
) | st.text(st.characters(exclude_characters="\0/"), min_size=1)
LONG_NAMES = st.builds(lambda name, times: name * times, NAMES, st.sampled_from([1, 1, 20, 300]))
NUMBERS = st.integers(0, 70_000) | st.integers(0, 2**40)


@settings(max_examples=300, deadline=None)
@given(
    LONG_NAMES,
    LONG_NAMES,
    st.sampled_from(KINDS),
    st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS | st.integers(-5, 5), st.integers(0, 0o177777)),
    st.dictionaries(st.just("SCHILY.xattr.security.capability"), st.just("\udc81=")),
)
def test_headers_are_those_of_tarfile(
    name: str,
    link: str,
    kind: bytes,
    numbers: tuple[int, int, int, int, int],
    pax: dict[str, str],
) -> None:
    info = tarfile.TarInfo(name)
    info.linkname, info.type, info.pax_headers = link, kind, pax
    info.uid, info.gid, info.size, info.mtime, info.mode = numbers
    expected = info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    assert header_of(info) == expected


@given(st.integers(0, 50), st.integers(0, 2000))
def test_a_tar_ends_with_a_whole_record(blocks: int, size: int) -> None:
    assert (size + len(padding(size))) % tarfile.BLOCKSIZE == 0
    before = blocks * tarfile.BLOCKSIZE
    end = ending(before)
    assert len(end) >= 2 * tarfile.BLOCKSIZE
    assert len(end) < 2 * tarfile.BLOCKSIZE + tarfile.RECORDSIZE
    assert (before + len(end)) % tarfile.RECORDSIZE == 0
