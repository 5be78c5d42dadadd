"""How often a host tries an attempt: what held the container does not count, the rest has an end."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.hosts import YOUNG_SECONDS, HostActivities, heartbeat_is_due
from activities.tries import MOST_IN_VAIN
from fleetwide.containers.scenarios import SIMULATE
from fleetwide.errors import ErrorCode, ServiceUnavailable
from fleetwide.models.containers import AttemptKey, ContainerSpec, RunContainer
from fleetwide.models.hosts import HostSpec, RunProgress
from fleetwide.models.task_states import TaskState
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.simulated import SimulatedEngine
from fleetwide.providers.simulated_state import SimulatedState
from fleetwide.settings import Settings

SPEC = HostSpec.model_validate({"host_id": "sim-0001", "cpu": 4, "memory": "8GiB"})


class World:
    """A host whose engine can be broken."""

    def __init__(self, folder: Path) -> None:
        self.engine = SimulatedEngine(
            SPEC, "here", "http://r", SimulatedState(folder / "state.db"), ""
        )
        settings = Settings(host_report_seconds=0.1)
        self.activities = HostActivities(settings, self.engine, FolderStore(folder / "objects"))
        self.beats: list[RunProgress] = []

    def attempt(self, script: str, told: list[Any], attempt: int = 30) -> Any:
        """One try, after those that told this."""
        env = ActivityEnvironment()
        env.info = replace(env.info, attempt=attempt, heartbeat_details=told)
        env.on_heartbeat = lambda progress: self._beat(env, progress)
        run = RunContainer(
            key=AttemptKey(workflow_id="task/t", run_id="r"),
            host_id=SPEC.host_id,
            app="hello",
            image=f"apps/hello@sha256:{'0' * 64}",
            container=ContainerSpec.model_validate(
                {"image": "apps/hello:1", "env": {SIMULATE: script}}
            ),
        )
        return env.run(self.activities.run_container, run)

    def _beat(self, env: ActivityEnvironment, progress: RunProgress) -> None:
        self.beats.append(progress)
        if progress.state is TaskState.STARTED:
            env.worker_shutdown()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def told(in_vain: int) -> list[Any]:
    return [RunProgress(state=TaskState.LAUNCHED, tries_in_vain=in_vain).model_dump(mode="json")]


def test_a_try_that_held_the_container_starts_the_count_anew(world: World) -> None:
    """A restart of the worker after the last try that might have failed: another one follows."""
    with pytest.raises(ServiceUnavailable):
        world.attempt("run=forever", told(MOST_IN_VAIN - 1))
    assert world.beats[0].tries_in_vain == MOST_IN_VAIN
    assert world.beats[-1].tries_in_vain == 0
    with pytest.raises(ServiceUnavailable):  # the container runs, and is taken up once more
        world.attempt("run=forever", told(MOST_IN_VAIN - 1))


def test_tries_in_vain_have_an_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise ServiceUnavailable("the engine is away")

    monkeypatch.setattr(world.engine, "create", away)
    with pytest.raises(ServiceUnavailable):
        world.attempt("", told(MOST_IN_VAIN - 2))
    with pytest.raises(ApplicationError, match=f"away .{MOST_IN_VAIN} tries in vain") as failed:
        world.attempt("", told(MOST_IN_VAIN - 1))
    assert failed.value.non_retryable
    assert failed.value.type == ErrorCode.SERVICE_UNAVAILABLE
    assert not any(beat.state is TaskState.STARTED for beat in world.beats)


def test_tries_of_which_the_worker_dies_count(world: World) -> None:
    """They never told anything, or told as they began."""
    with pytest.raises(ApplicationError) as failed:
        world.attempt("run=0s", [], attempt=MOST_IN_VAIN + 1)
    assert failed.value.non_retryable
    with pytest.raises(ApplicationError) as failed:
        world.attempt("run=0s", told(MOST_IN_VAIN))
    assert failed.value.non_retryable
    assert world.attempt("run=0s", told(3)).exit_code == 0


def test_a_container_that_is_over_is_not_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a result that cannot be kept would be tried for ever."""
    assert world.attempt("run=0s exit=3", [], attempt=1).exit_code == 3

    def away(*_: Any) -> None:
        raise ServiceUnavailable("the store is away")

    monkeypatch.setattr("fleetwide.providers.attempts.load_result", lambda *_: None)
    monkeypatch.setattr("fleetwide.providers.attempts.save_result", away)
    with pytest.raises(ServiceUnavailable):
        world.attempt("run=0s", told(0))
    with pytest.raises(ApplicationError):
        world.attempt("run=0s", told(MOST_IN_VAIN - 1))


def test_what_has_run_for_long_tells_of_itself_more_rarely_but_in_time() -> None:
    limit = timedelta(seconds=10)
    assert heartbeat_is_due(YOUNG_SECONDS - 1, 0.1, limit)
    assert not heartbeat_is_due(YOUNG_SECONDS, 1.0, limit)
    assert heartbeat_is_due(YOUNG_SECONDS, 3.0, limit)
    assert heartbeat_is_due(YOUNG_SECONDS, 1.0, timedelta(seconds=3))
    assert heartbeat_is_due(YOUNG_SECONDS, 0.1, None)
