import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

from activities.hosts import HostActivities
from fleetwide.errors import DockerUnavailable, ImageNotFound, ServiceUnavailable
from fleetwide.models.containers import AttemptResult, RunContainer
from fleetwide.models.hosts import RunProgress
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.providers import attempts
from fleetwide.providers.attempt_logs import LogWriter, read_log, tail_lines
from fleetwide.providers.attempt_results import load_result
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.objects import FolderStore
from fleetwide.settings import Settings
from tests.integration.containers_fixtures import (
    Runs,
    TinyRegistry,
    free_port,
    push_image,
    tiny_layer,
)

pytestmark = pytest.mark.integration
SHUTDOWN = ActivityCancellationDetails(worker_shutdown=True)


@pytest.fixture
def activities(
    host_settings: Settings, container_host: ContainerHost, object_store: FolderStore
) -> HostActivities:
    return HostActivities(host_settings, container_host, object_store)


class Running:
    """An activity at work in a thread, with the beats that it gave."""

    def __init__(self, activities: HostActivities, run: RunContainer) -> None:
        self.beats: list[RunProgress] = []
        self._news = threading.Condition()
        self.environment = ActivityEnvironment()
        self.environment.on_heartbeat = self._note
        self._pool = ThreadPoolExecutor(1)
        self.result: Future[AttemptResult] = self._pool.submit(
            self.environment.run, activities.run_container, run
        )

    def _note(self, progress: RunProgress) -> None:
        with self._news:
            self.beats.append(progress)
            self._news.notify_all()

    def wait_for_beat(self, wanted: Callable[[RunProgress], bool]) -> RunProgress:
        with self._news:
            assert self._news.wait_for(lambda: any(map(wanted, self.beats)), 30), self.beats
        return next(beat for beat in self.beats if wanted(beat))

    def wait_until_started(self) -> None:
        self.wait_for_beat(lambda beat: beat.state is TaskState.STARTED and beat.log_bytes > 0)


def execute(activities: HostActivities, run: RunContainer) -> AttemptResult:
    return ActivityEnvironment().run(activities.run_container, run)


def whole_log(store: FolderStore, run: RunContainer) -> str:
    pieces: list[bytes] = []
    offset = 0
    while True:
        piece, offset = read_log(store, run.key.log_key(), offset)
        if not piece:
            return b"".join(pieces).decode()
        pieces.append(piece)


def test_a_command_that_ends_well(
    activities: HostActivities, runs: Runs, object_store: FolderStore
) -> None:
    run = runs.shell("echo out; echo err >&2; echo last")
    result = execute(activities, run)
    assert result.reason is EndReason.NORMAL
    assert (result.exit_code, result.signal, result.oom_killed) == (0, None, False)
    assert sorted(result.last_lines) == ["err", "last", "out"]
    assert result.started_at
    assert result.finished_at
    assert result.started_at <= result.finished_at
    assert sorted(whole_log(object_store, run).splitlines()) == ["err", "last", "out"]
    assert load_result(object_store, run.key) == result


def test_an_exit_code_is_a_result(activities: HostActivities, runs: Runs) -> None:
    result = execute(activities, runs.shell("echo bad; exit 7"))
    assert (result.reason, result.exit_code) == (EndReason.FAILED, 7)
    assert result.last_lines == ["bad"]


def test_a_signal_is_named(activities: HostActivities, runs: Runs) -> None:
    result = execute(activities, runs.shell("kill -SEGV $$"))
    assert (result.reason, result.exit_code, result.signal) == (EndReason.FAILED, 139, 11)


def test_memory_beyond_the_limit_is_an_oom_kill(activities: HostActivities, runs: Runs) -> None:
    run = runs.shell("x=aaaaaaaa; while :; do x=$x$x; done", resources={"memory": "16MiB"})
    result = execute(activities, run)
    assert result.reason is EndReason.OOM_KILLED
    assert result.oom_killed
    assert (result.exit_code, result.signal) == (137, 9)


@pytest.mark.parametrize("network", ["none", "bridge"])
def test_a_missing_entry_point_is_a_start_failure(
    activities: HostActivities, runs: Runs, network: str
) -> None:
    result = execute(activities, runs.command(["/no/such/program"], network=network))
    assert result.reason is EndReason.START_FAILED
    assert "/no/such/program failed: No such file or directory" in result.message


def test_a_working_directory_that_cannot_be_is_a_start_failure(
    activities: HostActivities, runs: Runs, tiny_registry: TinyRegistry
) -> None:
    config: dict[str, object] = {"WorkingDir": "/bin/true", "Cmd": ["/bin/true"]}
    digest = push_image(tiny_registry.url, "tests/bad-folder", tiny_layer(), config)
    run = runs.command(["/bin/true"], image=f"tests/bad-folder@{digest}")
    result = execute(activities, run)
    assert result.reason is EndReason.START_FAILED
    assert "could not be started" in result.message


def test_an_image_without_a_command_is_a_start_failure(
    activities: HostActivities, runs: Runs, tiny_registry: TinyRegistry
) -> None:
    digest = push_image(tiny_registry.url, "tests/no-command", tiny_layer(), {})
    run = runs.command(["/bin/true"], image=f"tests/no-command@{digest}")
    bare = run.container.model_copy(update={"command": None})
    result = execute(activities, run.model_copy(update={"container": bare}))
    assert result.reason is EndReason.START_FAILED
    assert "command" in result.message.lower()


def test_an_image_that_is_not_in_the_registry(
    activities: HostActivities, runs: Runs, tiny_registry: TinyRegistry
) -> None:
    missing = f"{tiny_registry.repository}@sha256:{'0' * 64}"
    with pytest.raises(ImageNotFound, match="0000"):
        execute(activities, runs.command(["/bin/true"], image=missing))
    unknown = f"tests/unknown@sha256:{'0' * 64}"
    with pytest.raises(ImageNotFound, match="tests/unknown"):
        execute(activities, runs.command(["/bin/true"], image=unknown))


def test_an_image_is_pulled_when_it_is_not_on_the_host(
    activities: HostActivities, runs: Runs, tiny_registry: TinyRegistry
) -> None:
    config: dict[str, object] = {"Env": ["FRESH=yes"], "Cmd": ["/bin/sh", "-c", "echo $FRESH"]}
    digest = push_image(tiny_registry.url, "tests/fresh", tiny_layer(), config)
    run = runs.command([], image=f"tests/fresh@{digest}")
    default = run.container.model_copy(update={"command": None})
    result = execute(activities, run.model_copy(update={"container": default}))
    assert result.last_lines == ["yes"]
    assert result.pull_seconds is not None
    again = execute(activities, runs.shell("true", image=f"tests/fresh@{digest}"))
    assert again.pull_seconds is None


def test_environment_of_the_spec_and_of_the_platform(
    activities: HostActivities, runs: Runs
) -> None:
    run = runs.command(["/bin/env"], env={"COLOUR": "red", "INDEX": "mine"})
    result = execute(activities, run.model_copy(update={"extra_env": {"INDEX": "3"}}))
    assert "COLOUR=red" in result.last_lines
    assert "INDEX=3" in result.last_lines


def test_limits_labels_and_confinement_are_real(
    activities: HostActivities,
    runs: Runs,
    host_settings: Settings,
    docker_api: docker.APIClient,
) -> None:
    run = runs.shell("echo up; sleep 60", resources={"cpu": 0.25, "memory": "32MiB"})
    running = Running(activities, run)
    running.wait_until_started()
    found: dict[str, Any] = docker_api.inspect_container(run.key.container_name())
    running.environment.cancel()
    assert running.result.result(30).reason is EndReason.KILLED
    limits = found["HostConfig"]
    assert limits["NanoCpus"] == 250_000_000
    assert (limits["Memory"], limits["MemorySwap"]) == (32 * 1024**2, 32 * 1024**2)
    assert limits["PidsLimit"] == 4096
    assert limits["SecurityOpt"] == ["no-new-privileges"]
    assert not limits["Privileged"]
    assert limits["NetworkMode"] == "none"
    labels = found["Config"]["Labels"]
    assert labels["fleetwide.platform"] == str(host_settings.state_dir)
    assert labels["fleetwide.host"] == host_settings.host_id
    assert labels["fleetwide.workflow_id"] == run.key.workflow_id
    assert labels["fleetwide.run_id"] == run.key.run_id
    assert (labels["fleetwide.index"], labels["fleetwide.attempt"]) == ("0", "1")
    assert labels["fleetwide.app"] == "tests"


def test_a_cancel_stops_the_container_and_keeps_the_evidence(
    activities: HostActivities,
    runs: Runs,
    object_store: FolderStore,
    container_host: ContainerHost,
) -> None:
    run = runs.shell("trap 'echo stopping; exit 3' TERM; echo up; while :; do sleep 0.1; done")
    running = Running(activities, run)
    running.wait_until_started()
    running.environment.cancel()
    assert running.result.result(30).reason is EndReason.KILLED
    kept = load_result(object_store, run.key)
    assert kept
    assert (kept.reason, kept.exit_code) == (EndReason.KILLED, 3)
    assert kept.last_lines == ["up", "stopping"]
    assert not container_host.list_ours()


def test_a_cancel_before_the_start_runs_nothing(
    activities: HostActivities, runs: Runs, object_store: FolderStore
) -> None:
    run = runs.shell("echo ran; sleep 30")
    running = Running(activities, run)
    running.environment.cancel()
    assert running.result.result(30).reason is EndReason.KILLED
    kept = load_result(object_store, run.key)
    assert kept
    assert kept.reason is EndReason.KILLED


def test_the_runtime_limit_is_kept(activities: HostActivities, runs: Runs) -> None:
    run = runs.shell("echo up; exec sleep 600", runtime_limit_seconds=5)
    result = execute(activities, run)
    assert result.reason is EndReason.RUNTIME_LIMIT_EXCEEDED
    assert result.last_lines == ["up"]
    assert result.started_at
    assert result.finished_at
    assert (result.finished_at - result.started_at).total_seconds() >= 5


@pytest.mark.parametrize(
    "news",
    [
        SHUTDOWN,
        ActivityCancellationDetails(not_found=True),
        ActivityCancellationDetails(timed_out=True),
        ActivityCancellationDetails(paused=True),
    ],
    ids=["shutdown", "not found", "timed out", "paused"],
)
def test_all_but_a_cancel_leaves_the_container_to_the_next_try(
    activities: HostActivities,
    runs: Runs,
    object_store: FolderStore,
    docker_api: docker.APIClient,
    news: ActivityCancellationDetails,
) -> None:
    run = runs.shell("echo up; while [ ! -e /go ]; do sleep 0.1; done; echo done")
    name = run.key.container_name()
    first = Running(activities, run)
    first.wait_until_started()
    before = docker_api.inspect_container(name)["Id"]
    first.environment.cancel(news)
    with pytest.raises(ServiceUnavailable, match="let go"):
        first.result.result(30)
    assert docker_api.inspect_container(name)["State"]["Running"]
    second = Running(activities, run)
    second.wait_until_started()
    assert second.beats[-1].container_id == before
    docker_api.exec_start(docker_api.exec_create(name, ["/bin/sh", "-c", ": > /go"])["Id"])
    assert second.result.result(30).reason is EndReason.NORMAL
    assert whole_log(object_store, run) == "up\ndone\n"


def test_a_retry_while_the_first_try_still_works_takes_over(
    activities: HostActivities, runs: Runs, object_store: FolderStore, docker_api: docker.APIClient
) -> None:
    run = runs.shell("echo up; while [ ! -e /go ]; do sleep 0.1; done; echo done")
    first = Running(activities, run)
    first.wait_until_started()
    second = Running(activities, run)
    with pytest.raises(ServiceUnavailable):
        first.result.result(30)
    second.wait_until_started()
    name = run.key.container_name()
    docker_api.exec_start(docker_api.exec_create(name, ["/bin/sh", "-c", ": > /go"])["Id"])
    assert second.result.result(30).exit_code == 0
    assert whole_log(object_store, run) == "up\ndone\n"


def test_a_retry_after_the_end_answers_the_stored_result(
    activities: HostActivities, runs: Runs, container_host: ContainerHost
) -> None:
    run = runs.shell("exit 4")
    first = execute(activities, run)
    assert execute(activities, run) == first
    assert not container_host.list_ours()


def test_a_retry_collects_a_container_that_ended_meanwhile(
    activities: HostActivities, runs: Runs, docker_api: docker.APIClient
) -> None:
    run = runs.shell("echo up; while [ ! -e /go ]; do sleep 0.1; done; exit 5")
    first = Running(activities, run)
    first.wait_until_started()
    first.environment.cancel(SHUTDOWN)
    with pytest.raises(ServiceUnavailable):
        first.result.result(30)
    name = run.key.container_name()
    docker_api.exec_start(docker_api.exec_create(name, ["/bin/sh", "-c", ": > /go"])["Id"])
    docker_api.wait(name)
    result = execute(activities, run)
    assert (result.exit_code, result.last_lines) == (5, ["up"])


CRASHER = """
import sys
from temporalio.testing import ActivityEnvironment
from activities.hosts import HostActivities
from fleetwide.models.containers import RunContainer
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.objects import open_object_store
from fleetwide.settings import Settings

settings = Settings()
activities = HostActivities(
    settings, ContainerHost.from_settings(settings), open_object_store(settings)
)
environment = ActivityEnvironment()
environment.on_heartbeat = lambda progress: print(progress.log_bytes, flush=True)
environment.run(activities.run_container, RunContainer.model_validate_json(sys.argv[1]))
"""


def run_and_die(settings: Settings, run: RunContainer) -> None:
    """Let a host worker of its own run the attempt, and kill it once the container runs."""
    environment = {
        **os.environ,
        "FLEETWIDE_STATE_DIR": str(settings.state_dir),
        "FLEETWIDE_OBJECT_STORE_URL": settings.object_store_url,
        "FLEETWIDE_REGISTRY_URL": settings.registry_url,
        "FLEETWIDE_HOST_ID": settings.host_id,
    }
    with subprocess.Popen(
        [sys.executable, "-c", CRASHER, run.model_dump_json()],
        stdout=subprocess.PIPE,
        env=environment,
        cwd=Path(__file__).parents[2],
    ) as worker:
        assert worker.stdout
        while worker.stdout.readline() not in {b"3\n", b""}:
            pass
        worker.send_signal(signal.SIGKILL)


def test_a_killed_worker_leaves_a_container_that_the_next_one_adopts(
    activities: HostActivities,
    runs: Runs,
    host_settings: Settings,
    object_store: FolderStore,
    docker_api: docker.APIClient,
) -> None:
    run = runs.shell("echo up; while [ ! -e /go ]; do sleep 0.1; done; seq 3")
    run_and_die(host_settings, run)
    name = run.key.container_name()
    before = docker_api.inspect_container(name)
    assert before["State"]["Running"]
    adopter = Running(activities, run)
    adopter.wait_until_started()
    assert adopter.beats[-1].container_id == before["Id"]
    docker_api.exec_start(docker_api.exec_create(name, ["/bin/sh", "-c", ": > /go"])["Id"])
    result = adopter.result.result(30)
    assert result.reason is EndReason.NORMAL
    assert whole_log(object_store, run) == "up\n1\n2\n3\n"


def test_a_log_is_readable_while_the_container_runs(
    activities: HostActivities, runs: Runs, object_store: FolderStore
) -> None:
    run = runs.shell("echo early; sleep 60")
    running = Running(activities, run)
    running.wait_until_started()
    running.wait_for_beat(lambda _: bool(tail_lines(object_store, run.key.log_key(), 1)))
    assert tail_lines(object_store, run.key.log_key(), 1) == ["early"]
    running.environment.cancel()
    assert running.result.result(30).reason is EndReason.KILLED


def test_a_flood_of_output_is_cut_and_the_end_is_still_seen(
    activities: HostActivities,
    runs: Runs,
    object_store: FolderStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attempts, "LogWriter", partial(LogWriter, limit=1000))
    run = runs.shell("seq 20000; echo the end; exit 6")
    result = execute(activities, run)
    assert result.exit_code == 6
    assert result.last_lines[-2:] == ["20000", "the end"]
    assert whole_log(object_store, run).endswith(
        "[fleetwide] the log passed 1000 bytes; the rest was not kept\n"
    )


def test_a_container_removed_by_hand_counts_as_lost(
    activities: HostActivities, runs: Runs, docker_api: docker.APIClient
) -> None:
    run = runs.shell("echo up; sleep 60")
    running = Running(activities, run)
    running.wait_until_started()
    docker_api.remove_container(run.key.container_name(), force=True)
    assert running.result.result(30).reason is EndReason.CRASHED


def test_a_host_whose_docker_is_away(
    host_settings: Settings, object_store: FolderStore, runs: Runs
) -> None:
    away = f"tcp://127.0.0.1:{free_port()}"
    settings = host_settings.model_copy(update={"docker_url": away})
    host = ContainerHost.from_settings(settings)
    activities = HostActivities(settings, host, object_store)
    with pytest.raises(DockerUnavailable, match=away):
        execute(activities, runs.shell("true"))


def test_the_host_describes_itself(activities: HostActivities) -> None:
    facts = ActivityEnvironment().run(activities.describe)
    assert facts.cpus == os.cpu_count()
    assert facts.docker_version
    assert facts.memory > 0


async def test_the_watch_reports_containers_until_the_worker_leaves(
    activities: HostActivities, runs: Runs
) -> None:
    run = runs.shell("echo up; sleep 60")
    running = Running(activities, run)
    await asyncio.to_thread(running.wait_until_started)
    reports: asyncio.Queue[Any] = asyncio.Queue()
    environment = ActivityEnvironment()
    environment.on_heartbeat = reports.put_nowait
    watch = asyncio.create_task(environment.run(activities.watch))
    report = await reports.get()
    assert [(each.key, each.state) for each in report.containers] == [(run.key, TaskState.STARTED)]
    later = await reports.get()
    assert later.containers[0].since == report.containers[0].since
    environment.worker_shutdown()
    with pytest.raises(ServiceUnavailable):
        await watch
    running.environment.cancel()
    result = await asyncio.to_thread(running.result.result, 30)
    assert result.reason is EndReason.KILLED


async def test_a_cancelled_watch_ends_as_cancelled(activities: HostActivities) -> None:
    environment = ActivityEnvironment()
    beaten = asyncio.Event()
    environment.on_heartbeat = lambda _: beaten.set()
    watch = asyncio.create_task(environment.run(activities.watch))
    await beaten.wait()
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch
