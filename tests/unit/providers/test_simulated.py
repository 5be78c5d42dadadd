"""The engine of simulated hosts, and attempts on it: the same code as on Docker."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.simulated import SimulatedPreheatActivities
from fleetwide.containers.scenarios import SIMULATE
from fleetwide.errors import ImageNotFound, ServiceUnavailable
from fleetwide.models.containers import AttemptKey, AttemptResult, ContainerSpec, RunContainer
from fleetwide.models.hosts import HostSpec, PullProgress
from fleetwide.models.registry_preheat import WarmHost
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.providers.attempts import Attempt
from fleetwide.providers.engine import ContainerEngine
from fleetwide.providers.objects import FolderStore
from fleetwide.providers.simulated import SimulatedEngine
from fleetwide.providers.simulated_state import SimulatedState
from tests.platforms import eventually

IMAGE = f"apps/hello@sha256:{'0' * 64}"
SPEC = HostSpec.model_validate({"host_id": "sim-0001", "cpu": 4, "memory": "8GiB"})


class Simulation:
    """One simulated host whose process can be killed and come back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FolderStore(folder / "objects")
        self.state = SimulatedState(folder / "simulated.db")
        self.engine = self._engine()

    def _engine(self, default: str = "run=0s") -> SimulatedEngine:
        return SimulatedEngine(SPEC, "here", "http://127.0.0.1:5050", self.state, default)

    def come_back(self) -> None:
        """As after ``kill -9``: nothing is closed, and another process reads the file."""
        self.state = SimulatedState(self.folder / "simulated.db")
        self.engine = self._engine()

    def attempt(self, script: str, name: str = "t") -> Attempt:
        run = RunContainer(
            key=AttemptKey(workflow_id=f"task/{name}", run_id="r"),
            host_id=SPEC.host_id,
            app="hello",
            image=IMAGE,
            container=ContainerSpec(image=IMAGE, env={SIMULATE: script}, stop_grace_seconds=1),
        )
        return Attempt(self.engine, self.store, run)

    def execute(self, script: str) -> AttemptResult:
        return self.attempt(script).execute()


@pytest.fixture
def here(tmp_path: Path) -> Simulation:
    return Simulation(tmp_path)


def test_it_is_an_engine(here: Simulation) -> None:
    engine: ContainerEngine = here.engine
    facts = engine.facts()
    assert (facts.host_id, facts.cpus, facts.docker_version) == ("sim-0001", 4, "simulated")


def test_an_attempt_runs_to_its_scripted_end_and_leaves_nothing(here: Simulation) -> None:
    result = here.execute("run=50ms exit=3 log=2")
    assert (result.reason, result.exit_code) == (EndReason.FAILED, 3)
    assert [line.split(": ")[1] for line in result.last_lines] == ["line 1 of 2", "line 2 of 2"]
    assert result.started_at
    assert result.finished_at
    assert 0.05 <= (result.finished_at - result.started_at).total_seconds() < 0.06
    assert here.engine.list_ours() == []


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit=0", EndReason.NORMAL),
        ("oom=10ms", EndReason.OOM_KILLED),
        ("crash-after=10ms", EndReason.FAILED),
        ("no-start", EndReason.START_FAILED),
    ],
)
def test_ends(here: Simulation, script: str, reason: EndReason) -> None:
    assert here.execute(script).reason is reason


def test_a_scenario_that_cannot_be_read_ends_the_attempt_and_says_why(here: Simulation) -> None:
    result = here.execute("jump=2s")
    assert result.reason is EndReason.START_FAILED
    assert "'jump=2s' is no part of a scenario" in result.message


def test_an_image_is_pulled_once_and_with_progress(here: Simulation) -> None:
    first = here.execute("pull=100ms")
    assert first.pull_seconds
    assert first.pull_seconds >= 0.1
    assert here.attempt("pull=1h", "second").execute().pull_seconds is None
    here.come_back()
    assert here.attempt("pull=1h", "third").execute().pull_seconds is None


def test_pulls_of_one_image_side_by_side_are_one(here: Simulation) -> None:
    first, second = here.attempt("pull=1s"), here.attempt("pull=1h", "second")
    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(first.execute)]
        eventually(lambda: first.progress().pull, 10, "a pull")
        results.append(pool.submit(second.execute))
    assert [one.result().reason for one in results] == [EndReason.NORMAL] * 2
    assert second.progress().pull


def test_a_missing_image_is_missing(here: Simulation) -> None:
    with pytest.raises(ImageNotFound):
        here.execute("no-image")


def test_an_image_that_was_missing_for_one_is_there_for_the_next(here: Simulation) -> None:
    with pytest.raises(ImageNotFound):
        here.execute("no-image")
    assert here.attempt("exit=0", "second").execute().reason is EndReason.NORMAL


def test_a_pull_that_was_given_up_begins_anew_by_the_next_scenario(here: Simulation) -> None:
    body = {"Image": "i", "Env": [f"{SIMULATE}=pull=1h"], "Labels": {}}
    assert here.engine.create("fw-x", body) is None
    here.engine.pull("i", lambda _: False)
    assert here.engine.create("fw-y", body | {"Env": [f"{SIMULATE}=pull=0s"]}) is None
    here.engine.pull("i", lambda _: True)
    assert here.engine.create("fw-y", body)


def test_a_pull_is_given_up_when_nobody_wants_it(here: Simulation) -> None:
    seen: list[PullProgress] = []

    def go_on(progress: PullProgress) -> bool:
        seen.append(progress)
        return len(seen) < 2

    body = {"Image": "i", "Env": [f"{SIMULATE}=pull=1h"], "Labels": {}}
    assert here.engine.create("fw-x", body) is None
    here.engine.pull("i", go_on)
    assert [progress.layers_done for progress in seen] == [0, 0]
    assert here.engine.create("fw-x", body) is None


@pytest.mark.parametrize(("script", "code"), [("run=1h", 143), ("run=1h deaf", 137)])
def test_a_running_container_is_stopped_with_its_grace(
    here: Simulation, script: str, code: int
) -> None:
    attempt = here.attempt(f"{script} log=1")
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(attempt.execute)
        eventually(lambda: attempt.progress().log_bytes, 10, "a line")
        attempt.end(EndReason.KILLED)
        result = ended.result(10)
    assert (result.reason, result.exit_code) == (EndReason.KILLED, code)
    assert here.engine.list_ours() == []


def test_a_container_outlives_its_process_and_is_taken_up_again(here: Simulation) -> None:
    first = here.attempt("run=500ms log=2 exit=5")
    thread = threading.Thread(target=first.execute, daemon=True)
    thread.start()
    eventually(lambda: first.progress().state is TaskState.STARTED, 10, "a start")
    here.come_back()
    [left] = here.engine.list_ours()
    assert left.status == "running"
    result = here.attempt("run=500ms log=2 exit=5").execute()
    assert result.exit_code == 5
    assert len(result.last_lines) == 2
    assert here.state.starts() == [("sim-0001", left.name)]
    thread.join(10)


def test_one_that_ended_while_its_process_was_away_is_collected(here: Simulation) -> None:
    script = "run=50ms exit=6"
    attempt = here.attempt(script)
    image = here.engine.image_name(IMAGE)
    here.engine.pull(image, lambda _: True)
    body = {"Image": image, "Env": [f"{SIMULATE}={script}"], "Labels": {}}
    made = here.engine.create(attempt.name, body)
    assert made is not None
    here.engine.start(made.id)
    here.come_back()
    eventually(lambda: here.engine.list_ours()[0].status == "exited", 10, "its end")
    assert here.execute(script).exit_code == 6
    assert len(here.state.starts()) == 1


def test_letting_go_leaves_the_container_and_ends_the_follower(here: Simulation) -> None:
    attempt = here.attempt("run=1h")
    with ThreadPoolExecutor(1) as pool:
        left_alone = pool.submit(attempt.execute)
        eventually(lambda: attempt.progress().state is TaskState.STARTED, 10, "a start")
        attempt.detach()
        with pytest.raises(ServiceUnavailable):
            left_alone.result(10)
    [left] = here.engine.list_ours()
    assert left.status == "running"
    here.engine.remove(left.id)
    assert here.engine.list_ours() == []


def test_a_preheat_leaves_the_image_here(here: Simulation) -> None:
    request = WarmHost(repository="apps/hello", digest=IMAGE.partition("@")[2])
    warmed = ActivityEnvironment().run(SimulatedPreheatActivities(here.engine).warm_host, request)
    assert warmed.host_id == "sim-0001"
    assert here.execute("pull=1h").pull_seconds is None
