"""Deploys played in a small world: its bounds hold whatever comes, and every deploy ends."""

from datetime import timedelta
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwide.models.copies import Copy
from fleetwide.models.deploys import DeployPhase, DeployState
from fleetwide.models.health import HealthStatus
from fleetwide.models.services import CanaryStep, DeployPolicy, Strategy
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.services.deploy_moves import pause, resume, rollback
from fleetwide.services.deploy_waits import waiting, wake_at
from fleetwide.services.deploys import begin
from fleetwide.services.shares import Count, Limits, Roll, View, limits_of, rolled, share_of
from tests.property.deploy_world import SILENT, T0, Version, World

FATES: list[EndReason | HealthStatus] = [
    EndReason.FAILED,
    EndReason.NORMAL,
    EndReason.LOST,
    EndReason.EVICTED,
    HealthStatus.UNHEALTHY,
]


@st.composite
def policies(draw: st.DrawFn) -> DeployPolicy:
    strategy = draw(st.sampled_from(Strategy))
    surge, missing = draw(st.sampled_from([(0, 30), (25, 0), (50, 50), (100, 0), (1, 1)]))
    shares = sorted(draw(st.sets(st.sampled_from([1, 10, 50, 100]), min_size=1, max_size=3)))
    steps = [
        CanaryStep(percent=share, hold_seconds=draw(st.sampled_from([0, 30]))) for share in shares
    ]
    return DeployPolicy(
        strategy=strategy,
        max_surge_percent=surge,
        max_unavailable_percent=missing,
        progress_deadline_seconds=120,
        keep_old_seconds=20,
        canary=steps if strategy is Strategy.CANARY else [],
        auto_rollback=draw(st.booleans()),
        max_failed_copies=draw(st.integers(1, 4)),
    )


def random_fate(seed: int, percent: int) -> Version:
    """Copies that start after some steps; so many percent of them end, flap, or fall silent."""

    def fate(copy: Copy, age: int) -> EndReason | HealthStatus | None:
        chance = Random(f"{seed} {copy.membership.task_id}")
        start, doomed = chance.randint(0, 3), chance.randrange(100) < percent
        if age < start:
            return None
        if doomed and age > chance.randint(start, start + 6):
            return chance.choice(FATES)
        return HealthStatus.HEALTHY

    return Version(fate)


def disturbed(world: World, chance: Random) -> None:
    """Something that happens beside the deploy, now and then."""
    happening, tasks = chance.randrange(24), sorted(world.copies)
    if happening == 0 and tasks:
        host = world.copies[chance.choice(tasks)].host_id
        for task_id in [one for one in tasks if world.copies[one].host_id == host]:
            world.lose(task_id)
    elif happening == 1 and tasks:
        world.change(chance.choice(tasks), state=SILENT, healthy_since=None)
    elif happening == 2 and tasks:
        world.change(chance.choice(tasks), leaving=True)
    elif happening == 5:
        for task_id in [one for one in tasks if world.copies[one].state is SILENT]:
            if chance.random() < 0.5:
                world.change(task_id, state=TaskState.STARTED)
            else:
                world.lose(task_id)
    elif happening == 3:
        world.desired = chance.randint(0, 12)
    elif happening == 4 and world.state.phase is DeployPhase.RUNNING:
        world.state = pause(world.state, "wait a moment")
        world.step()
        world.state = resume(world.state, "go on")


@settings(max_examples=60, deadline=None)
@given(
    policy=policies(),
    desired=st.integers(0, 12),
    percents=st.tuples(st.sampled_from([0, 5]), st.sampled_from([0, 10, 60, 100])),
    seed=st.integers(0, 1000),
)
def test_every_deploy_ends_within_its_bounds(
    policy: DeployPolicy, desired: int, percents: tuple[int, int], seed: int
) -> None:
    world = World.running(policy, desired, {1: Version(), 2: Version(), 3: Version()})
    world.versions[1], world.versions[2] = (random_fate(seed, one) for one in percents)
    chance = Random(seed)
    world.deploy(2)
    for look in range(120):
        world.step()  # it looks at the bounds each time
        if world.state.over:
            break
        if look == 7 and seed % 3 == 0:
            world.deploy(3)
        disturbed(world, chance)
    world.settle()
    if not policy.auto_rollback:
        assert world.state.phase in {DeployPhase.SUCCEEDED, DeployPhase.FAILED}
    elif world.state.phase is DeployPhase.FAILED:
        assert world.state.back_since is not None
    assert world.state.reason
    assert waiting(world.state, policy, world.desired, [], world.now) is None
    assert wake_at(world.state, policy, [], world.now) is None


@settings(max_examples=30, deadline=None)
@given(policy=policies(), desired=st.integers(0, 12), seed=st.integers(0, 1000))
def test_it_always_knows_when_to_look_again_and_why_it_waits(
    policy: DeployPolicy, desired: int, seed: int
) -> None:
    """Nothing comes to pass between two looks that neither a change nor the time asked for."""
    world = World.running(policy, desired, {1: Version(), 2: random_fate(seed, 20)})
    world.deploy(2)
    for _ in range(400):
        world.look()
        if world.state.over:
            return
        copies = list(world.copies.values())
        assert waiting(world.state, policy, world.desired, copies, world.now)
        due = wake_at(world.state, policy, copies, world.now)
        before, changes = _seen(world), 0
        world.pass_time()
        if due is None or due > world.now:
            world_copies, ended = list(world.copies.values()), list(world.ended)
            if world_copies == copies and not ended:
                world.look()
                changes = int(_seen(world) != before)
        assert not changes, f"it was not due before {due}"
    raise AssertionError("it does not come to an end")


def _seen(world: World) -> tuple[object, ...]:
    return world.state.phase, world.state.step, world.state.promoted, world.shares


@given(policy=policies(), desired=st.integers(0, 2500))
def test_the_limits_leave_room_to_move(policy: DeployPolicy, desired: int) -> None:
    limits = limits_of(policy, desired)
    assert 0 <= limits.least <= desired <= limits.most
    assert not desired or limits.surge or limits.unavailable
    for step in policy.canary:
        share = share_of(step.percent, desired)
        assert min(desired, 1) <= share <= desired


counts = st.builds(
    lambda live, unready: Count(live, max(live - unready, 0)), st.integers(0, 15), st.integers(0, 5)
)


@given(
    limits=st.builds(Limits, st.integers(0, 12), st.integers(1, 12), st.just(0))
    | st.builds(Limits, st.integers(3, 12), st.integers(0, 3), st.integers(1, 3)),
    counted=st.dictionaries(st.integers(1, 4), counts),
    leaving=st.integers(0, 3),
    share=st.integers(0, 12),
    peak=st.integers(0, 12),
    base=st.none() | st.just(1),
)
def test_no_share_takes_what_is_ready_and_needed(
    limits: Limits, counted: dict[int, Count], leaving: int, share: int, peak: int, base: int | None
) -> None:
    view = View(limits, counted, leaving, T0)
    shares = rolled(view, Roll(2, min(share, limits.desired), base, peak))
    left = sum(min(view.of(number).ready, count) for number, count in shares.items())
    assert left >= min(sum(one.ready for one in counted.values()), limits.least) or base is None
    live = sum(one.live for one in counted.values())
    assert sum(shares.values()) <= limits.most
    after = sum(max(count, view.of(number).live) for number, count in shares.items())
    assert after <= max(limits.most - leaving, live)
    assert all(count >= 0 for count in shares.values())


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_way_back_is_never_followed_by_another(seed: int) -> None:
    """Both versions fail: it goes back once, and stays there."""
    policy = DeployPolicy(progress_deadline_seconds=60)
    world = World.running(policy, 6, {1: Version(), 2: Version()})
    world.versions = {1: random_fate(seed, 100), 2: random_fate(seed + 1, 100)}
    world.deploy(2)
    world.settle()
    phases = [entry[0] for entry in world.log]
    backs = sum(
        after is DeployPhase.ROLLING_BACK and before is not after
        for before, after in pairwise(phases)
    )
    assert backs <= 1
    if world.state.phase is DeployPhase.FAILED:
        again = rollback(world.state, world.now, "try once more")
        assert again.goes_to == 1


def test_a_deploy_is_kept_as_json() -> None:
    state = begin(1, 1, DeployPolicy(), T0 + timedelta(seconds=1))
    assert DeployState.model_validate_json(state.model_dump_json()) == state
