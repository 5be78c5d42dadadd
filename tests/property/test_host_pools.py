"""What a pool does next: its bounds hold whatever comes, and each rule is seen to act."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fleetwide.containers.pools import PoolView, next_steps, pause_left
from fleetwide.models.hosts import TAKES_WORK, HostState
from fleetwide.models.pools import (
    END_SENTENCE,
    HostPoolSpec,
    Machine,
    MachineState,
    PoolEnd,
    PoolMachine,
    PoolProvider,
    PoolStep,
    PoolStepKind,
)

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)
TYPES = [
    {"name": "small", "cpu": 2, "memory": "4GiB", "price": 1},
    {"name": "large", "cpu": 16, "memory": "64GiB", "price": 6},
]


def spec(**given: object) -> HostPoolSpec:
    content = {"name": "p", "provider": PoolProvider.LOCAL, "types": TYPES, "max": 20, **given}
    return HostPoolSpec.model_validate(content)


def machine(
    number: int,
    host_state: HostState | None = HostState.ACTIVE,
    *,
    state: MachineState = MachineState.RUNNING,
    image: str = "new",
    **more: object,
) -> PoolMachine:
    known = Machine(
        id=f"m-{number}",
        type="small",
        state=state,
        image=image,
        launched_at=NOW - timedelta(minutes=5),
    )
    return PoolMachine.model_validate({"machine": known, "host_state": host_state, **more})


def view(machines: list[PoolMachine], **given: object) -> PoolView:
    content: dict[str, object] = {"spec": spec(), "now": NOW, "image": "new", **given}
    return PoolView(machines=tuple(machines), **content)  # type: ignore[arg-type]


def kinds(steps: list[PoolStep]) -> list[PoolStepKind]:
    return [step.kind for step in steps]


machines = st.lists(
    st.builds(
        machine,
        number=st.integers(0, 10_000),
        host_state=st.none() | st.sampled_from(HostState),
        state=st.sampled_from(MachineState),
        image=st.sampled_from(["new", "old"]),
        tasks=st.integers(0, 3),
        draining=st.booleans(),
    ),
    max_size=12,
    unique_by=lambda one: one.machine.id,
)


@st.composite
def views(draw: st.DrawFn) -> PoolView:
    least, desired, most = sorted(draw(st.tuples(*[st.integers(0, 12)] * 3)))
    found = draw(machines)
    ids = [one.machine.id for one in found]
    wanted = draw(st.dictionaries(st.sampled_from(["small", "large"]), st.integers(1, 9)))
    return view(
        found,
        spec=spec(min=least, desired=desired, max=most, scale=draw(st.booleans())),
        wanted=wanted,
        empties=tuple(draw(st.permutations(ids))) if not wanted else (),
        quiet_since=None if wanted else draw(st.sampled_from([NOW, LONG_AGO])),
        refreshing=draw(st.booleans()),
        deleting=draw(st.booleans()),
        failures=draw(st.integers(0, 20)),
        failed_at=NOW - timedelta(seconds=draw(st.integers(0, 2000))),
    )


@given(views())
def test_a_pool_stays_within_its_bounds(seen: PoolView) -> None:
    steps = next_steps(seen)
    serving = [
        one
        for one in seen.machines
        if one.machine.state in {MachineState.PENDING, MachineState.RUNNING}
        and not one.draining
        and one.host_state is not HostState.LOST  # it does not answer: another takes its place
    ]
    launched = sum(step.count for step in steps if step.kind is PoolStepKind.LAUNCH)
    ended = {m for step in steps if step.kind is PoolStepKind.TERMINATE for m in step.machines}
    assert all(
        seen.spec.min <= step.count <= seen.spec.max
        for step in steps
        if step.kind is PoolStepKind.RESIZE
    )
    if launched:
        kept = sum(one.machine.id not in ended for one in serving)
        assert kept + launched <= seen.spec.max
        assert not seen.deleting
        assert pause_left(seen) == timedelta()


@given(views())
def test_a_machine_is_asked_for_one_thing_and_only_a_known_one(seen: PoolView) -> None:
    named = [machine for step in next_steps(seen) for machine in step.machines]
    assert len(named) == len(set(named))
    known = {one.machine.id: one for one in seen.machines}
    for name in named:
        assert known[name].machine.state is not MachineState.ENDING


@given(views())
def test_work_is_never_cut_off_by_shrinking(seen: PoolView) -> None:
    """Hosts that have joined are emptied first; only what is of no use is ended at once."""
    useless = {HostState.REMOVABLE, HostState.LOST, HostState.REMOVED}
    known = {one.machine.id: one for one in seen.machines}
    for step in next_steps(seen):
        if step.kind is PoolStepKind.TERMINATE:
            for name in step.machines:
                one = known[name]
                gone = one.machine.state is MachineState.GONE
                assert one.host_state is None or one.host_state in useless or gone


@given(views())
def test_equal_views_give_equal_steps(seen: PoolView) -> None:
    assert next_steps(seen) == next_steps(seen)


def test_waiting_work_makes_the_pool_grow_once() -> None:
    [grown] = next_steps(view([machine(1)], spec=spec(desired=1), wanted={"large": 2}))
    assert (grown.kind, grown.count) == (PoolStepKind.RESIZE, 3)
    launched = next_steps(view([machine(1)], spec=spec(desired=3), wanted={"large": 2}))
    assert [(one.type, one.count) for one in launched] == [("large", 2)]
    coming = [machine(1), machine(2, None), machine(3, None)]
    assert next_steps(view(coming, spec=spec(desired=3), wanted={"large": 2})) == []


def test_without_waiting_work_the_cheapest_type_is_started() -> None:
    [step] = next_steps(view([], spec=spec(desired=2)))
    assert (step.type, step.count) == ("small", 2)
    [other] = next_steps(view([], spec=spec(desired=2), short=frozenset({"small"})))
    assert other.type == "large"


def test_what_never_joined_is_replaced_after_a_pause() -> None:
    late = machine(1, None).model_copy(
        update={"machine": machine(1).machine.model_copy(update={"launched_at": LONG_AGO})}
    )
    [ended] = next_steps(view([late], spec=spec(desired=1)))
    assert (ended.end, ended.machines) == (PoolEnd.NEVER_REGISTERED, ["m-1"])
    paused = view([], spec=spec(desired=1), failures=3, failed_at=NOW - timedelta(seconds=60))
    assert pause_left(paused) == timedelta(seconds=60)
    assert next_steps(paused) == []
    over = view([], spec=spec(desired=1), failures=3, failed_at=NOW - timedelta(seconds=120))
    [launch] = next_steps(over)
    assert (launch.kind, launch.count) == (PoolStepKind.LAUNCH, 1)


def test_the_cheapest_machine_to_empty_goes_when_nothing_waits() -> None:
    two = [machine(1, tasks=1), machine(2)]
    quiet = view(two, spec=spec(desired=2), empties=("m-2",), quiet_since=LONG_AGO)
    resize, drain = next_steps(quiet)
    assert (resize.count, drain.machines) == (1, ["m-2"])
    at_least = view(two, spec=spec(min=2, desired=2), empties=("m-2",), quiet_since=LONG_AGO)
    assert next_steps(at_least) == []
    busy = view(two, spec=spec(desired=2), empties=("m-2",), quiet_since=NOW)
    assert next_steps(busy) == []


def test_a_drained_machine_ends_and_an_emptying_one_does_not() -> None:
    full = view([machine(1, HostState.REMOVABLE, tasks=1, draining=True)])
    assert next_steps(full) == []
    [ended] = next_steps(view([machine(1, HostState.REMOVABLE, draining=True)]))
    assert ended.end is PoolEnd.DRAINED


def test_a_refresh_replaces_one_machine_after_the_other() -> None:
    old = [machine(number, image="old") for number in (1, 2)]
    [launch] = next_steps(view(old, spec=spec(desired=2), refreshing=True))
    assert (launch.kind, launch.count) == (PoolStepKind.LAUNCH, 1)
    waiting = next_steps(view([*old, machine(3, None)], spec=spec(desired=2), refreshing=True))
    assert waiting == []
    [drain] = next_steps(view([*old, machine(3)], spec=spec(desired=2), refreshing=True))
    assert (drain.kind, drain.machines) == (PoolStepKind.DRAIN, ["m-1"])
    done = view([machine(3), machine(4)], spec=spec(desired=2), refreshing=True)
    assert next_steps(done) == []


def test_a_pool_that_may_not_grow_is_refreshed_in_place() -> None:
    old = [machine(number, image="old") for number in (1, 2)]
    [drain] = next_steps(view(old, spec=spec(desired=2, max=2), refreshing=True))
    assert (drain.kind, drain.machines) == (PoolStepKind.DRAIN, ["m-1"])


def test_a_deleted_pool_empties_its_hosts_and_ends_the_rest() -> None:
    steps = next_steps(view([machine(1), machine(2, None)], deleting=True))
    assert kinds(steps) == [PoolStepKind.TERMINATE, PoolStepKind.DRAIN]
    assert [step.machines for step in steps] == [["m-2"], ["m-1"]]


def test_every_end_has_a_sentence() -> None:
    assert set(END_SENTENCE) == set(PoolEnd)
    assert {HostState.ACTIVE, HostState.PHASED_OUT} == TAKES_WORK


def test_without_an_image_nothing_is_started_and_the_rest_goes_on() -> None:
    ec2 = {"region": "eu-west-1", "subnets": ["subnet-0a1b2c3d"], "image": "host"}
    kind = HostPoolSpec.model_validate(
        {"name": "p", "desired": 2, "types": [{"name": "m5.large"}], "ec2": ec2}
    )
    lost = machine(1, HostState.LOST)
    [ended] = next_steps(view([lost], spec=kind, image=""))
    assert ended.end is PoolEnd.HOST_LOST
    assert kinds(next_steps(view([], spec=kind))) == [PoolStepKind.LAUNCH]


def test_a_lost_host_with_tasks_is_not_ended_but_replaced() -> None:
    lost = machine(1, HostState.LOST, tasks=1)
    assert kinds(next_steps(view([lost], spec=spec(desired=1)))) == [PoolStepKind.LAUNCH]


@pytest.mark.parametrize("labels", [{"a": "b,c=d"}, {"a=b": "c"}, {"a": "x" * 300}])
def test_labels_that_would_break_the_tag_are_refused(labels: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="labels"):
        spec(labels=labels)


def test_a_deletion_hurries_also_what_is_being_emptied_with_time() -> None:
    shrinks = view([machine(1), machine(2)], spec=spec(desired=1))
    assert [step.hurry for step in next_steps(shrinks)] == [False]
    both = [machine(1, tasks=1, draining=True), machine(2, tasks=1)]
    [drain] = next_steps(view(both, deleting=True))
    assert (drain.machines, drain.hurry) == (["m-1", "m-2"], True)
    hurried = [one.model_copy(update={"draining": True, "hurried": True}) for one in both]
    assert next_steps(view(hurried, deleting=True)) == []
