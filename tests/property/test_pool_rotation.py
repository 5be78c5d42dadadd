"""A pool's rotation: it ends with no machine that is due, and never takes more than it may."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fleetwide.containers.pools import PoolView, next_steps, next_to_replace, to_replace
from fleetwide.models.disturbances import Cause
from fleetwide.models.hosts import HostState
from fleetwide.models.pools import (
    HostPoolSpec,
    HostRotation,
    Machine,
    MachineState,
    PoolMachine,
    PoolStep,
    PoolStepKind,
)

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MOST_TURNS = 200


def spec(**given: object) -> HostPoolSpec:
    kind = {"name": "small", "cpu": 2, "memory": "4GiB"}
    content = {"name": "p", "provider": "local", "types": [kind], "max": 20, **given}
    return HostPoolSpec.model_validate(content)


def machine(number: int, age: timedelta, *, image: str = "new", joined: bool = True) -> PoolMachine:
    known = Machine(
        id=f"m-{number}",
        type="small",
        state=MachineState.RUNNING,
        image=image,
        launched_at=NOW - age,
    )
    return PoolMachine(machine=known, host_state=HostState.ACTIVE if joined else None)


class Pool:
    """Does what the steps say, one turn after the other: what is started joins a turn later."""

    def __init__(self, spec: HostPoolSpec, machines: list[PoolMachine]) -> None:
        self.spec = spec
        self.machines = {one.machine.id: one for one in machines}
        self.started = 0
        self.least = spec.desired

    def view(self) -> PoolView:
        return PoolView(
            spec=self.spec, machines=tuple(self.machines.values()), now=NOW, image="new"
        )

    def turn(self) -> bool:
        """Whether there was anything to do."""
        found, steps = self.view(), next_steps(self.view())
        leaving = [one for one in found.machines if one.draining]
        joining = [one for one in found.machines if one.host_state is None]
        for one in leaving:
            self._change(one, host_state=HostState.REMOVABLE)
        for one in joining:
            self._change(one, host_state=HostState.ACTIVE)
        for step in steps:
            self._do(step)
        serving = [one for one in self.machines.values() if one.host_state is HostState.ACTIVE]
        self.least = min(self.least, sum(not one.draining for one in serving))
        return bool(steps or leaving or joining)

    def _do(self, step: PoolStep) -> None:
        if step.kind is PoolStepKind.LAUNCH:
            for _ in range(step.count):
                self.started += 1
                fresh = machine(1000 + self.started, timedelta(0), joined=False)
                self.machines[fresh.machine.id] = fresh
        for name in step.machines:
            if step.kind is PoolStepKind.TERMINATE:
                del self.machines[name]
            else:
                assert step.cause is Cause.ROTATION
                self._change(self.machines[name], draining=True)

    def _change(self, one: PoolMachine, **change: object) -> None:
        self.machines[one.machine.id] = one.model_copy(update=change)


ages = st.integers(0, 9).map(lambda days: days * DAY)


@given(
    machines=st.lists(st.tuples(ages, st.sampled_from(["new", "old"])), min_size=1, max_size=8),
    spare=st.integers(0, 3),
    most=st.integers(1, 4),
    limit=st.none() | st.integers(1, 8),
)
def test_a_rotation_ends_and_replaces_before_it_empties(
    machines: list[tuple[timedelta, str]], spare: int, most: int, limit: int | None
) -> None:
    rule = {"max_rotating": most, "max_age_seconds": limit * 86_400 if limit else None}
    found = [machine(number, age, image=image) for number, (age, image) in enumerate(machines)]
    size = {"desired": len(found), "max": len(found) + spare}
    pool = Pool(spec(rotation=rule, scale=False, **size), found)
    due = set(to_replace(pool.view()).due)
    for _ in range(MOST_TURNS):
        if not pool.turn():
            break
        leaving = sum(one.draining for one in pool.machines.values())
        assert leaving <= most
    assert to_replace(pool.view()).due == {}
    kept = {one.machine.id for one in found} - due
    assert kept <= pool.machines.keys()
    assert len(pool.machines) == len(found)
    assert pool.least >= len(found) - (0 if spare else most)
    assert pool.started == len(due)


def test_without_a_rotation_nothing_is_replaced_by_itself() -> None:
    old = PoolView(spec=spec(desired=1), machines=(machine(1, 9 * DAY, image="old"),), now=NOW)
    assert next_steps(old) == []


def test_it_is_told_which_ones_come_next_and_why() -> None:
    rule = {"max_age_seconds": 86_400, "max_rotating": 2}
    found = [machine(1, 3 * DAY), machine(2, 2 * DAY, image="old"), machine(3, 5 * DAY)]
    seen = PoolView(
        spec=spec(desired=3, rotation=rule), machines=tuple(found), now=NOW, image="new"
    )
    assert next_to_replace(seen) == {"it is older than 24 hours": ["m-3", "m-1"]}
    assert to_replace(seen).due["m-2"] == "a newer image is there"


def test_a_rotation_that_would_replace_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_age_seconds"):
        HostRotation(old_images=False)
