"""Whatever the policy: the newest stay, and nothing young goes."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from fleetwide.baseos.gates import surplus
from fleetwide.models.baseos import RetentionSpec
from tests.unit.os_plans import NOW, release

POLICIES = st.builds(RetentionSpec, keep=st.integers(1, 20), max_age_days=st.integers(1, 400))
AGES = st.lists(st.integers(0, 500), max_size=30).map(sorted)


@given(AGES, POLICIES)
def test_the_newest_are_kept_and_the_young(ages: list[int], policy: RetentionSpec) -> None:
    made = [
        release(str(number), created_at=NOW - timedelta(days=age))
        for number, age in enumerate(ages)
    ]
    gone = surplus(made, policy, NOW)
    assert not {one.version for one in made[: policy.keep]} & {one.version for one in gone}
    assert all(NOW - one.created_at > timedelta(days=policy.max_age_days) for one in gone)
    stay = [one for one in made[policy.keep :] if one not in gone]
    assert all(NOW - one.created_at <= timedelta(days=policy.max_age_days) for one in stay)


@given(AGES, POLICIES)
def test_what_was_retired_leaves_nothing_more_to_retire(
    ages: list[int], policy: RetentionSpec
) -> None:
    made = [
        release(str(number), created_at=NOW - timedelta(days=age))
        for number, age in enumerate(ages)
    ]
    gone = surplus(made, policy, NOW)
    assert surplus([one for one in made if one not in gone], policy, NOW) == []
