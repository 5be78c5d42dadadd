"""Disconnect policies: the fence comes before a replacement, or somebody asked for both."""

from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fleetwide.containers.reconciling import original_stays
from fleetwide.models.batch import BatchJobSpec
from fleetwide.models.containers import ContainerSpec, ContainerTaskSpec
from fleetwide.models.disconnects import FENCE_SECONDS, DisconnectPolicy, Reconcile
from fleetwide.models.returns import FoundContainer
from workflows.silence import answer_timeout, fence_time, heartbeat_timeout


def container(grace: int = 10, **policy: Any) -> ContainerSpec:
    return ContainerSpec.model_validate(
        {"image": "apps/x:1", "stop_grace_seconds": grace, "disconnect": policy}
    )


def test_by_default_a_container_is_stopped_long_before_it_is_lost() -> None:
    policy = container().disconnect
    assert policy.lost_after_seconds == 600
    assert policy.stop_after(10) == 300
    assert policy.fenced_after(10) == 300 + 10 + FENCE_SECONDS
    assert not policy.replace_while_disconnected


def test_a_long_grace_makes_the_fence_come_earlier() -> None:
    assert container(grace=300).disconnect.stop_after(300) == 600 - 300 - FENCE_SECONDS


@pytest.mark.parametrize(
    ("grace", "policy"),
    [
        (10, {"lost_after_seconds": 10}),
        (0, {"lost_after_seconds": 10, "stop_on_host_after_seconds": 6}),
        (300, {"lost_after_seconds": 300}),
    ],
)
def test_a_replacement_beside_the_original_is_refused(grace: int, policy: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="surely runs no more only after"):
        container(grace, **policy)
    container(grace, **policy, replace_while_disconnected=True)


def test_the_refusal_names_a_value_that_is_accepted() -> None:
    with pytest.raises(ValidationError, match="set it to 16 or more"):
        container(10, lost_after_seconds=10)
    container(10, lost_after_seconds=16)


@given(
    grace=st.integers(0, 300),
    lost_after=st.floats(10, 86_400),
    stop_after=st.none() | st.floats(2, 86_400),
)
def test_nobody_is_given_up_before_the_fence_has_passed(
    grace: int, lost_after: float, stop_after: float | None
) -> None:
    try:
        spec = container(
            grace, lost_after_seconds=lost_after, stop_on_host_after_seconds=stop_after
        )
    except ValidationError:
        return
    fenced = spec.disconnect.fenced_after(grace)
    # The last answer may have come right before a try ended: then only its wait lies between.
    assert answer_timeout(spec).total_seconds() >= fenced - 1e-6
    assert fenced <= lost_after + 1e-6
    silent = heartbeat_timeout(spec) + answer_timeout(spec)
    assert silent.total_seconds() >= lost_after - 1e-6


def test_who_wants_both_at_once_waits_for_no_fence() -> None:
    spec = container(replace_while_disconnected=True)
    assert answer_timeout(spec) == 2 * heartbeat_timeout(spec)
    assert fence_time(spec).total_seconds() == 0
    assert fence_time(container()).total_seconds() == 315


def test_only_a_replacement_beside_the_original_can_be_chosen_from() -> None:
    with pytest.raises(ValidationError, match="set disconnect"):
        container(reconcile="keepOriginal")
    kept = container(reconcile="keepOriginal", replace_while_disconnected=True)
    many = {"app": "x", "size": 2, "container": kept}
    with pytest.raises(ValidationError, match="is for container tasks alone"):
        BatchJobSpec.model_validate(many)
    assert ContainerTaskSpec(app="x", container=kept).container.disconnect.reconciles
    assert not container(replace_while_disconnected=True).disconnect.reconciles


found = st.builds(
    FoundContainer,
    running=st.booleans(),
    started_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)


@given(choice=st.sampled_from(Reconcile), original=found, replacement=found)
def test_what_does_not_run_is_never_kept_for_what_does(
    choice: Reconcile, original: FoundContainer, replacement: FoundContainer
) -> None:
    kept = original_stays(choice, original, replacement)
    assert original.running or not kept
    assert not (kept and choice is Reconcile.KEEP_REPLACEMENT)
    if choice is Reconcile.KEEP_ORIGINAL:
        assert kept == original.running
    if choice is Reconcile.LONGEST_RUNNING and original.running and replacement.running:
        first, second = original.started_at, replacement.started_at
        assert kept == bool(first and second and first <= second)


def test_limits_are_told() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 10"):
        DisconnectPolicy(lost_after_seconds=1)
