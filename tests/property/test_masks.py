from hypothesis import given
from hypothesis import strategies as st

from fleetwide.containers.masks import MASK, MIN_BYTES, Masker

WORDS = st.lists(st.text("ab", min_size=1, max_size=7).map(str.encode), max_size=4)
PIECES = st.lists(st.text("abc\n", max_size=6).map(str.encode), max_size=12)


def masked(values: list[bytes], pieces: list[bytes]) -> bytes:
    masker = Masker(values)
    return b"".join([*(masker.feed(piece) for piece in pieces), masker.end()])


@given(WORDS, PIECES)
def test_what_comes_out_does_not_depend_on_how_it_is_cut(
    values: list[bytes], pieces: list[bytes]
) -> None:
    text = b"".join(pieces)
    assert masked(values, pieces) == masked(values, [text])
    assert masked(values, [text[n : n + 1] for n in range(len(text))]) == masked(values, [text])


@given(WORDS, PIECES)
def test_no_value_is_left(values: list[bytes], pieces: list[bytes]) -> None:
    left = masked(values, pieces).replace(MASK, b"\0")
    assert not any(value in left for value in values if len(value) >= MIN_BYTES)


@given(PIECES)
def test_a_text_without_secrets_stays_as_it_is(pieces: list[bytes]) -> None:
    assert masked([b"xyzw"], pieces) == b"".join(pieces)


def test_a_value_of_several_lines_is_hidden_line_by_line() -> None:
    assert masked([b"-----BEGIN\nabcdef\n"], [b"key: abcdef\n"]) == b"key: " + MASK + b"\n"
