"""What is lent, borrowed and promised, in numbers."""

from fleetwide.containers.capacity import (
    FIELD,
    TIER,
    amounts_of,
    bounds_of,
    group_of,
    loans,
    warnings,
)
from fleetwide.containers.placement import UNCOUNTED, CapacityGroup, Dimension
from fleetwide.models.capacity_groups import CapacityGroupSpec, GroupAmounts, Tier

CPU = Dimension.CPU
WHOLE = (8000, 2**33, UNCOUNTED, UNCOUNTED, 0)


def test_every_resource_and_every_tier_has_its_name() -> None:
    assert set(FIELD) == set(Dimension)
    assert set(FIELD.values()) == set(GroupAmounts.model_fields)
    assert set(TIER) == set(Tier)


def test_what_people_write_comes_back_as_they_wrote_it() -> None:
    written = GroupAmounts.model_validate({"cpu": 2.5, "memory": "1GiB", "gpus": 0})
    assert bounds_of(written) == {CPU: 2500, Dimension.MEMORY: 2**30, Dimension.GPU: 0}
    assert amounts_of(bounds_of(written)) == written
    spec = CapacityGroupSpec(tier=Tier.CRITICAL, guarantee=written, weight=2)
    assert group_of("web", spec).guarantee == bounds_of(written)


def test_idle_guarantees_are_lent_only_as_far_as_they_are_not_free() -> None:
    groups = (
        CapacityGroup("a", guarantee={CPU: 4000}),
        CapacityGroup("b", guarantee={CPU: 2000}),
        CapacityGroup("c"),
    )
    used = {"a": (1000, 0, 0, 0, 0), "b": (2500, 0, 0, 0, 0), "c": (3500, 0, 0, 0, 0)}
    found = loans(groups, used, (1000, 0, 0, 0, 0))
    assert (found["a"].lent, found["a"].borrowed) == ({CPU: 2000}, {CPU: 0})
    assert (found["b"].lent, found["b"].borrowed) == ({CPU: 0}, {CPU: 500})
    assert found["c"].lent == found["c"].borrowed == {}
    assert loans(groups, used, (5000, 0, 0, 0, 0))["a"].lent == {CPU: 0}


def test_more_than_the_fleet_has_is_told_and_what_nobody_counts_is_not() -> None:
    groups = (
        CapacityGroup("a", guarantee={CPU: 6000, Dimension.DISK: 2**45}),
        CapacityGroup("b", guarantee={CPU: 3000}),
    )
    [told] = warnings(groups, WHOLE)
    assert told == "9 CPU are guaranteed in all, and the hosts that take work have 8"
