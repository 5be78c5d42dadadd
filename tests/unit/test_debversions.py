from itertools import combinations

import pytest

from fleetwide.baseos.debversions import compare_versions, version_key

ASCENDING = [
    "0~~",
    "0~~a",
    "0~",
    "0",
    "0+b1",
    "1.0~beta1~svn1245",
    "1.0~beta1",
    "1.0",
    "1.0-0.1",
    "1.0-1~bpo12+1",
    "1.0-1",
    "1.0-1+b1",
    "1.0-1+deb12u1",
    "1.0-1.1",
    "1.0-10",
    "1.0a",
    "1.0+dfsg-1",
    "1.0.1",
    "1.9",
    "1.10",
    "1.10-1-1",
    "2026a-0+deb12u1",
    "1:0.1",
    "10:0",
]
EQUAL = [
    ("1.0", "1.0-0"),
    ("0:1", "1"),
    ("1.02", "1.2"),
    ("1.", "1.0"),
    ("1.0-", "1.0"),
    ("a", "a0"),
]


def test_versions_sort_as_dpkg_sorts_them() -> None:
    for older, newer in combinations(ASCENDING, 2):
        assert compare_versions(older, newer) == -1, (older, newer)
        assert compare_versions(newer, older) == 1


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_what_dpkg_calls_equal_is_equal(one: str, other: str) -> None:
    assert compare_versions(one, other) == 0
    assert version_key(one) == version_key(other)


def test_a_number_may_be_as_long_as_it_likes() -> None:
    assert compare_versions("1." + "9" * 5000, "1.1" + "0" * 5000) == -1
