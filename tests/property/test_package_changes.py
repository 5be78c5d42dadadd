"""Versions have one order, and a diff is the way from one set of packages to the other."""

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.baseos.debversions import compare_versions, version_key
from fleetwide.baseos.package_diff import package_diff
from fleetwide.models.os_locks import LockedPackage
from tests.unit.locked import package

VERSIONS = st.from_regex(r"([0-9]:)?[0-9][0-9a-c.+~]{0,6}(-[0-9a-c.+~]{1,4})?", fullmatch=True)
SETS = st.dictionaries(st.sampled_from("abcd"), VERSIONS).map(
    lambda found: [package(name * 2, version) for name, version in found.items()]
)


@given(VERSIONS, VERSIONS, VERSIONS)
def test_versions_have_one_order(one: str, two: str, three: str) -> None:
    assert compare_versions(one, one) == 0
    assert compare_versions(one, two) == -compare_versions(two, one)
    if compare_versions(one, two) <= 0 and compare_versions(two, three) <= 0:
        assert compare_versions(one, three) <= 0
    assert sorted([one, two], key=version_key) in ([one, two], [two, one])


@given(VERSIONS, st.sampled_from("~+"))
def test_a_tilde_makes_older_and_a_plus_newer(version: str, sign: str) -> None:
    assert compare_versions(f"{version}{sign}", version) == (-1 if sign == "~" else 1)


@given(SETS, SETS)
def test_the_diff_back_is_the_diff_turned_round(
    before: list[LockedPackage], after: list[LockedPackage]
) -> None:
    there, back = package_diff(before, after), package_diff(after, before)
    assert [one.name for one in there.added] == [one.name for one in back.removed]
    assert [one.name for one in there.upgraded] == [one.name for one in back.downgraded]
    assert [one.name for one in there.replaced] == [one.name for one in back.replaced]
    told = [*there.added, *there.upgraded, *there.downgraded, *there.replaced]
    changed = {(one.name, one.after) for one in told}
    assert {(one.name, one.version) for one in after} - changed <= {
        (one.name, one.version) for one in before
    }
