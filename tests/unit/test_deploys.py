"""Deploys case by case: what is deployed badly, what people do to it, and what it says of it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fleetwide.errors import Conflict
from fleetwide.models.copies import Copy
from fleetwide.models.deploys import OVER, PHASE_TEXT, DeployPhase, DeployState, Tally
from fleetwide.models.health import HealthStatus
from fleetwide.models.services import CanaryStep, DeployPolicy, Judgement, Strategy
from fleetwide.models.task_states import EndReason
from fleetwide.services import deploy_moves
from fleetwide.services.blame import blamed
from fleetwide.services.deploy_steps import serves
from fleetwide.services.deploy_waits import waiting
from fleetwide.services.deploys import begin
from fleetwide.services.judging import judge
from fleetwide.services.shares import limits_of
from tests.property.deploy_world import T0, Version, World

P = DeployPhase
GOOD = Version()
CANARY = DeployPolicy(
    strategy=Strategy.CANARY,
    canary=[CanaryStep(percent=10, hold_seconds=30), CanaryStep(percent=50, hold_seconds=30)],
)
NO_SURGE = DeployPolicy(max_surge_percent=0, max_unavailable_percent=10)
BLUE_GREEN = DeployPolicy(strategy=Strategy.BLUE_GREEN, keep_old_seconds=30)


def always(fate: EndReason | HealthStatus | None) -> Version:
    return Version(lambda copy, age: fate)


def world(new: Version, policy: DeployPolicy | None = None, desired: int = 10) -> World:
    """Version 1 runs, and version 2 is being deployed."""
    found = World.running(policy or DeployPolicy(), desired, {1: GOOD, 2: new, 3: GOOD})
    found.log.clear()
    found.deploy(2)
    return found


def started(found: World, revision: int) -> int:
    """Copies of the version that were ever started."""
    return max((shares.get(revision, 0) for _, shares, _ in found.log), default=0)


def until(found: World, what: Callable[[World], bool]) -> None:
    for _ in range(100):
        if what(found):
            return
        found.step()
    raise AssertionError(f"it never came: {found.state}")


def test_a_bad_image_stops_at_the_first_step_and_goes_back() -> None:
    found = world(always(EndReason.INVALID_REQUEST))
    found.settle()
    assert found.state.phase is P.ROLLED_BACK
    assert found.state.reason.startswith("no host can run it: web.")
    assert found.state.reason.endswith("going back to revision 1")
    assert started(found, 2) == 3, "only the surge of the first step"
    assert (found.live(2), found.ready(1)) == (0, 10)
    assert min(ready for _, _, ready in found.log) == 10, "nobody noticed"


def test_an_image_that_no_host_can_pull_counts_until_one_has_started_it() -> None:
    found = world(always(EndReason.IMAGE_PULL_FAILED))
    found.settle()
    assert found.state.phase is P.ROLLED_BACK
    assert found.state.numbers == {"failed": 3, "maxFailedCopies": 3}
    assert blamed(EndReason.IMAGE_PULL_FAILED, has_started=False)
    assert not blamed(EndReason.IMAGE_PULL_FAILED, has_started=True)


def test_health_that_flaps_counts_each_copy_once_and_goes_back() -> None:
    def flaps(copy: Copy, age: int) -> HealthStatus:
        return HealthStatus.UNHEALTHY if age % 4 == 3 else HealthStatus.HEALTHY

    found = world(Version(flaps))
    found.settle()
    assert found.state.phase is P.ROLLED_BACK
    assert len({failed.task_id for failed in found.state.failures}) == found.state.failed
    assert {failed.reason for failed in found.state.failures} == {EndReason.UNHEALTHY}


def test_a_version_that_never_gets_healthy_goes_back_after_its_deadline() -> None:
    policy = DeployPolicy(progress_deadline_seconds=60)
    found = world(always(HealthStatus.STARTING), policy)
    begun = found.now
    found.settle()
    assert found.state.phase is P.ROLLED_BACK
    assert "no further copy of revision 2 got ready for 60 s: 0 of 10 are, 3 more live" in (
        found.state.reason
    )
    assert found.state.finished_at is not None
    assert found.state.finished_at - begun >= timedelta(seconds=60)


def test_of_two_deploys_the_later_one_goes_on_and_would_go_back_to_the_last_good_version() -> None:
    found = world(GOOD)
    until(found, lambda it: it.ready(2) == 3)
    before = found.state
    found.deploy(3)
    replaced = deploy_moves.superseded(before, found.state.number, found.now)
    assert (replaced.phase, replaced.reason) == (
        P.ABORTED,
        "deploy 3 took its place while it was running",
    )
    assert (found.state.from_revision, found.state.to_revision) == (1, 3)
    found.settle()
    assert (found.state.phase, found.live(2), found.ready(3)) == (P.SUCCEEDED, 0, 10)


def test_the_good_version_may_be_deployed_again_in_the_middle_of_another() -> None:
    found = world(GOOD)
    until(found, lambda it: it.ready(2) == 3)
    kept = {it for it, copy in found.copies.items() if copy.membership.revision == 1}
    found.deploy(1)
    assert not found.state.can_go_back
    found.settle()
    assert (found.state.phase, found.ready(1), found.live()) == (P.SUCCEEDED, 10, 10)
    assert kept <= set(found.copies), "what ran of it goes on"


@pytest.mark.parametrize("desired", [0, 1, 2])
@pytest.mark.parametrize("policy", [DeployPolicy(), CANARY, BLUE_GREEN, NO_SURGE])
def test_small_services_are_deployed_too(policy: DeployPolicy, desired: int) -> None:
    found = world(GOOD, policy, desired)
    found.settle()
    assert (found.state.phase, found.live(1), found.live(2)) == (P.SUCCEEDED, 0, desired)


def test_a_bad_deploy_during_a_deploy_goes_back_behind_both() -> None:
    found = world(GOOD)
    found.versions[3] = always(EndReason.FAILED)
    until(found, lambda it: it.ready(2) == 3)
    found.deploy(3)
    found.settle()
    assert (found.state.phase, found.live()) == (P.ROLLED_BACK, found.ready(1))


def test_a_first_deploy_that_fails_says_that_there_is_nothing_to_go_back_to() -> None:
    policy = DeployPolicy()
    found = World(policy, 4, {1: always(EndReason.OOM_KILLED)}, begin(1, 1, policy, T0))
    found.settle()
    assert found.state.phase is P.FAILED
    assert "there is no earlier good version to go back to" in found.state.reason
    with pytest.raises(Conflict, match="no other good version"):
        deploy_moves.rollback(found.state, found.now, "please")


def test_without_auto_rollback_it_stays_where_it_is_until_somebody_goes_back() -> None:
    found = world(always(EndReason.FAILED), DeployPolicy(auto_rollback=False))
    found.settle()
    assert found.state.phase is P.FAILED
    assert "auto_rollback is off" in found.state.reason
    for _ in range(5):
        found.step()
    assert found.shares == {1: 10, 2: 3}
    found.state = deploy_moves.rollback(found.state, found.now, "it is no good")
    found.settle()
    assert (found.state.phase, found.live(2)) == (P.ROLLED_BACK, 0)
    assert found.state.reason == "it is no good; going back to revision 1"


def test_a_way_back_that_fails_ends_there_and_is_not_followed_by_another() -> None:
    found = world(always(EndReason.FAILED), DeployPolicy(progress_deadline_seconds=60))
    found.versions[1] = always(None)
    found.look()
    found.lose("web.0.0")
    found.settle()
    assert P.ROLLING_BACK in [phase for phase, _, _ in found.log]
    assert found.state.phase is P.FAILED
    assert "the way back did not come to its end" in found.state.reason
    assert found.shares == {1: 10}, "it still wants the good version"


@pytest.mark.parametrize("reason", [EndReason.LOST, EndReason.EVICTED, EndReason.HOST_DRAINING])
def test_hosts_that_are_lost_do_not_count_against_the_new_version(reason: EndReason) -> None:
    found = world(GOOD, DeployPolicy(max_failed_copies=1))
    for _ in range(5):
        until(found, lambda it: it.live(2) > 0)
        newest = max(it for it, copy in found.copies.items() if copy.membership.revision == 2)
        found.lose(newest, reason)
        found.step()
    found.settle()
    assert (found.state.phase, found.state.failed) == (P.SUCCEEDED, 0)


def test_a_service_copy_that_ends_normally_has_failed() -> None:
    found = world(always(EndReason.NORMAL))
    found.settle()
    assert found.state.phase is P.ROLLED_BACK


def test_a_canary_takes_its_steps_and_tells_how_they_were_judged() -> None:
    found = world(GOOD, CANARY)
    until(found, lambda it: it.state.step_since is not None)
    assert found.shares == {1: 9, 2: 1}
    told = waiting(found.state, CANARY, 10, list(found.copies.values()), found.now)
    assert told is not None
    assert told.code == "canaryWatched"
    until(found, lambda it: it.state.step == 1 and it.state.step_since is not None)
    assert found.shares == {1: 5, 2: 5}
    found.settle()
    assert found.state.phase is P.SUCCEEDED
    assert [(one.good, one.new.copies, one.old.copies) for one in found.state.verdicts] == [
        (True, 1, 9),
        (True, 5, 5),
    ]


def test_a_canary_that_fails_more_often_than_the_old_version_goes_back() -> None:
    def dies_later(copy: Copy, age: int) -> EndReason | HealthStatus:
        return EndReason.FAILED if age > 6 else HealthStatus.HEALTHY

    found = world(Version(dies_later), CANARY)
    found.settle()
    assert found.state.phase is P.ROLLED_BACK
    assert found.state.reason.startswith("step 1 of the canary was judged bad: in 30 s")
    assert found.state.numbers == {"newRate": 1.0, "oldRate": 0.0, "allowedRate": 0.0}
    assert started(found, 2) == 1


def test_a_canary_is_let_pass_that_is_no_worse_than_what_runs() -> None:
    rules = Judgement(tolerated_ratio=1.5)
    old = Tally(copies=8, ends=2, unhealthy=2)
    assert judge(0, Tally(copies=4, ends=2), old, rules, 60).good
    assert judge(0, Tally(copies=4, ends=1, unhealthy=2), old, rules, 60).good
    assert not judge(0, Tally(copies=4, ends=4), old, rules, 60).good
    assert not judge(0, Tally(copies=4, unhealthy=1), Tally(copies=4), rules, 60).good
    lenient = Judgement(tolerated_events=1)
    assert judge(0, Tally(copies=4, unhealthy=1), Tally(), lenient, 60).good
    sentence = judge(1, Tally(copies=4, ends=4), old, rules, 60).sentence
    assert "4 ends and 0 unhealthy of 4 copies (1.00 per copy)" in sentence
    assert "0.75 per copy were allowed" in sentence


def test_a_canary_without_auto_promote_waits_for_somebody() -> None:
    found = world(GOOD, CANARY.model_copy(update={"auto_promote": False}))
    until(found, lambda it: it.state.phase is P.WAITING_PROMOTION)
    for _ in range(3):
        found.step()
    assert found.shares == {1: 5, 2: 5}
    found.state = deploy_moves.promote(found.state, found.now, "looks well")
    found.settle()
    assert (found.state.phase, found.ready(2)) == (P.SUCCEEDED, 10)


def test_blue_green_switches_when_all_are_ready_and_keeps_a_way_back_at_once() -> None:
    found = world(GOOD, BLUE_GREEN)
    found.look()
    assert found.shares == {1: 10, 2: 10}
    assert (serves(found.state, 1), serves(found.state, 2)) == (True, False)
    until(found, lambda it: it.state.switched_at is not None)
    assert (serves(found.state, 1), serves(found.state, 2)) == (False, True)
    assert found.live(1) == 10
    kept, found.state = found.state, deploy_moves.rollback(found.state, found.now, "oh no")
    assert (serves(found.state, 1), serves(found.state, 2)) == (True, False)
    found.look()
    assert (found.state.phase, found.shares) == (P.ROLLING_BACK, {1: 10, 2: 0})
    assert found.ready(1) == 10
    found.state = kept
    found.settle()
    assert (found.state.phase, found.live(1), found.ready(2)) == (P.SUCCEEDED, 0, 10)


def test_blue_green_that_does_not_get_healthy_never_has_the_traffic() -> None:
    found = world(always(EndReason.FAILED), BLUE_GREEN)
    found.settle()
    assert (found.state.phase, found.state.switched_at) == (P.ROLLED_BACK, None)
    assert found.live() == found.ready(1) == 10


def test_a_pause_keeps_the_share_and_a_resume_goes_on() -> None:
    found = world(GOOD)
    until(found, lambda it: it.shares.get(2) == 6)
    found.state = deploy_moves.pause(found.state, "lunch")
    for _ in range(200):
        found.step()
    assert (found.state.phase, found.shares) == (P.PAUSED, {1: 4, 2: 6})
    found.lose(next(it for it, copy in found.copies.items() if copy.membership.revision == 1))
    for _ in range(5):
        found.step()
    assert (found.ready(1), found.ready(2)) == (4, 6), "what is lost is replaced by the same"
    found.state = deploy_moves.resume(found.state, "back")
    found.settle()
    assert found.state.phase is P.SUCCEEDED


def test_desired_may_change_while_it_is_deployed() -> None:
    found = world(GOOD)
    until(found, lambda it: it.ready(2) == 3)
    found.desired = 4
    until(found, lambda it: it.live() <= 5)
    found.desired = 12
    found.settle()
    assert (found.state.phase, found.live()) == (P.SUCCEEDED, found.ready(2))
    assert found.ready(2) == 12


def test_a_step_back_is_counted_for_the_deploy_that_caused_it_alone() -> None:
    """The same version again: what an earlier deploy left of it is not held against it."""
    found = world(always(EndReason.FAILED), DeployPolicy(auto_rollback=False))
    found.settle()
    found.versions[2] = GOOD
    found.deploy(2)
    found.settle()
    assert (found.state.phase, found.state.failed) == (P.SUCCEEDED, 0)


@pytest.mark.parametrize("phase", DeployPhase)
@pytest.mark.parametrize(
    ("move", "allowed"),
    [
        (lambda state: deploy_moves.pause(state, "why"), {P.RUNNING}),
        (lambda state: deploy_moves.resume(state, "why"), {P.PAUSED}),
        (lambda state: deploy_moves.promote(state, T0, "why"), {P.RUNNING, P.WAITING_PROMOTION}),
        (
            lambda state: deploy_moves.abort(state, T0, "why"),
            {P.RUNNING, P.PAUSED, P.WAITING_PROMOTION},
        ),
        (
            lambda state: deploy_moves.rollback(state, T0, "why"),
            {P.RUNNING, P.PAUSED, P.WAITING_PROMOTION, P.FAILED, P.ABORTED},
        ),
    ],
)
def test_a_move_that_the_phase_does_not_allow_is_refused_and_names_it(
    phase: DeployPhase, move: Callable[[DeployState], DeployState], allowed: set[DeployPhase]
) -> None:
    before = begin(1, 1, CANARY, T0).model_copy(update={"phase": P.SUCCEEDED})
    state = begin(2, 2, CANARY, T0, before).model_copy(update={"phase": phase})
    if phase in allowed:
        assert "why" in move(state).reason
        return
    with pytest.raises(Conflict, match=rf"deploy 2 is {phase} and cannot be") as refused:
        move(state)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("strategy", "switched", "match"),
    [
        (Strategy.ROLLING, None, "nothing of it waits"),
        (Strategy.BLUE_GREEN, None, "0 of 4 copies of the new version are ready"),
    ],
)
def test_a_promotion_of_nothing_is_refused(strategy: Strategy, switched: Any, match: str) -> None:
    before = begin(1, 1, DeployPolicy(), T0).model_copy(update={"phase": P.SUCCEEDED})
    state = begin(2, 2, DeployPolicy(strategy=strategy), T0, before)
    state = state.model_copy(update={"desired": 4, "switched_at": switched})
    with pytest.raises(Conflict, match=match):
        deploy_moves.promote(state, T0, "now")


@pytest.mark.parametrize(
    ("desired", "surge", "missing", "expected"),
    [
        (10, 25, 25, (3, 2)),  # the surge up, the missing down, as Kubernetes does
        (25, 28, 28, (7, 7)),  # not 8 by the float's last digit
        (1, 25, 99, (1, 0)),
        (3, 0, 10, (0, 1)),  # neither would be a stand-still
        (0, 25, 25, (0, 0)),
    ],
)
def test_percentages_are_rounded_as_kubernetes_does(
    desired: int, surge: int, missing: int, expected: tuple[int, int]
) -> None:
    policy = DeployPolicy(max_surge_percent=surge, max_unavailable_percent=missing)
    limits = limits_of(policy, desired)
    assert (limits.surge, limits.unavailable) == expected


def test_each_phase_has_a_text() -> None:
    assert set(PHASE_TEXT) == set(DeployPhase)
    assert set(DeployPhase) > OVER
