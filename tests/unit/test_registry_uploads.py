"""The order of chunks, and how far an upload is by its state."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwide.registry.uploads import chunk_of, in_order, offset_of, received_range

REAL = (
    "lke2y0pM8v6OiPjH5UiSD579Eqotr_tlLziWEeKAfeR7Ik5hbWUiOiJhL2IiLCJVVUlEIjoiZWU1MGIyM2Ut"
    "M2NlYS00MTkwLTg5ZjktNDQyMGFjZjJjOGFhIiwiT2Zmc2V0IjowLCJTdGFydGVkQXQiOiIyMDI2LTExLTMw"
    "VDA4OjM3OjM0LjQyNTgzNTI1MVoifQ=="
)
"""As Distribution 2.8.2 gave it, for an upload without a byte."""


def state(document: object) -> str:
    return base64.urlsafe_b64encode(bytes(32) + json.dumps(document).encode()).decode()


def test_the_state_of_a_real_upload_is_read() -> None:
    assert offset_of(REAL) == 0
    assert offset_of(REAL.rstrip("=")) == 0


@given(st.integers(0, 2**50))
def test_an_offset_is_read_whatever_it_is(offset: int) -> None:
    assert offset_of(state({"Name": "a", "UUID": "b", "Offset": offset})) == offset


@pytest.mark.parametrize(
    "text",
    ["", "x", "====", state([]), state({}), state({"Offset": "3"}), state({"Offset": -1}), "ü"],
)
def test_what_is_no_state_has_no_offset(text: str) -> None:
    assert offset_of(text) is None


@given(st.text(max_size=200))
def test_any_text_gets_an_answer(text: str) -> None:
    offset, chunk = offset_of(text), chunk_of(text)
    assert offset is None or offset >= 0
    assert chunk is None or chunk.size > 0


@pytest.mark.parametrize(
    ("content_range", "length", "offset", "right"),
    [
        ("0-4", 5, 0, True),
        ("5-9", 5, 5, True),
        ("bytes 5-9", 5, 5, True),
        ("bytes 5-9/*", 5, 5, True),
        ("0-4", None, 0, True),
        ("0-4", 4, 0, False),
        ("1-5", 5, 0, False),
        ("0-4", 5, 5, False),
        ("4-0", 5, 4, False),
        ("-5", 5, 0, False),
        ("0-", 5, 0, False),
        ("٠-٤", 5, 0, False),
        ("0-99999999999999999999", 5, 0, False),
    ],
)
def test_a_chunk_begins_where_the_upload_ends(
    content_range: str, length: int | None, offset: int, right: bool
) -> None:
    assert in_order(content_range, length, offset) is right


def test_the_range_of_an_upload_is_inclusive() -> None:
    assert received_range(0) == "0-0"
    assert received_range(5) == "0-4"
