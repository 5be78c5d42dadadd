"""The last line before a kill is in the log, whoever was killed: container, worker or daemon."""

import gc
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from temporalio.testing import ActivityEnvironment

from activities.hosts import HostActivities
from fleetwide.errors import DockerUnavailable
from fleetwide.models.containers import RunContainer
from fleetwide.models.task_states import EndReason
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.objects import FolderStore
from fleetwide.settings import Settings
from tests.integration.containers_fixtures import Runs, TinyRegistry
from tests.integration.errands.dockerds import OwnDockerd, own_dockerd
from tests.integration.test_host_activities import CRASHER, Running, whole_log

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
LAST = "last words"
SAYS = "echo first; while [ ! -e /go ]; do sleep 0.1; done; echo second; printf '{}'; : > /said; "
SCRIPT = SAYS.format(LAST)
WAITS = f"{SCRIPT} exec sleep 600"
WHOLE = f"first\nsecond\n{LAST}"


@pytest.fixture
def activities(
    host_settings: Settings, container_host: ContainerHost, object_store: FolderStore
) -> HostActivities:
    return HostActivities(host_settings, container_host, object_store)


def let_go(api: docker.APIClient, run: RunContainer) -> None:
    """Have the container say its last words, and see them said."""
    script = ": > /go; while [ ! -e /said ]; do sleep 0.1; done; echo said"
    command = ["/bin/sh", "-c", script]
    said = api.exec_start(api.exec_create(run.key.container_name(), command)["Id"])
    assert said == b"said\n"


def test_of_a_killed_container(
    activities: HostActivities, runs: Runs, object_store: FolderStore, docker_api: docker.APIClient
) -> None:
    run = runs.shell(WAITS)
    running = Running(activities, run)
    running.wait_until_started()
    let_go(docker_api, run)
    docker_api.kill(run.key.container_name(), "SIGKILL")
    result = running.result.result(60)
    assert (result.reason, result.exit_code) == (EndReason.FAILED, 137)
    assert result.last_lines == ["first", "second", "last words"]
    assert whole_log(object_store, run) == WHOLE


def test_of_a_container_that_ended_while_its_killed_worker_was_away(
    activities: HostActivities,
    runs: Runs,
    host_settings: Settings,
    object_store: FolderStore,
    docker_api: docker.APIClient,
) -> None:
    run = runs.shell(WAITS)
    with worker(host_settings, run) as process:
        assert process.stdout
        while process.stdout.readline() not in {b"6\n", b""}:
            pass
        process.send_signal(signal.SIGKILL)
    let_go(docker_api, run)
    docker_api.kill(run.key.container_name(), "SIGKILL")
    result = ActivityEnvironment().run(activities.run_container, run)
    assert result.exit_code == 137
    assert whole_log(object_store, run) == WHOLE


def test_of_a_line_that_the_killed_worker_had_not_stored(
    activities: HostActivities,
    runs: Runs,
    host_settings: Settings,
    object_store: FolderStore,
    docker_api: docker.APIClient,
) -> None:
    run = runs.shell(f"{SCRIPT} while [ ! -e /end ]; do sleep 0.1; done")
    with worker(host_settings, run) as process:
        assert process.stdout
        while process.stdout.readline() not in {b"6\n", b""}:
            pass
        let_go(docker_api, run)
        process.send_signal(signal.SIGKILL)
    name = run.key.container_name()
    docker_api.exec_start(docker_api.exec_create(name, ["/bin/sh", "-c", ": > /end"])["Id"])
    result = ActivityEnvironment().run(activities.run_container, run)
    assert result.exit_code == 0
    assert whole_log(object_store, run) == WHOLE


def worker(settings: Settings, run: RunContainer) -> "subprocess.Popen[bytes]":
    environment = {
        **os.environ,
        "FLEETWIDE_STATE_DIR": str(settings.state_dir),
        "FLEETWIDE_OBJECT_STORE_URL": settings.object_store_url,
        "FLEETWIDE_REGISTRY_URL": settings.registry_url,
        "FLEETWIDE_DOCKER_URL": settings.docker_url,
        "FLEETWIDE_HOST_ID": settings.host_id,
    }
    return subprocess.Popen(
        [sys.executable, "-c", CRASHER, run.model_dump_json()],
        stdout=subprocess.PIPE,
        env=environment,
        cwd=Path(__file__).parents[3],
    )


@pytest.fixture
def dockerd(tmp_path: Path) -> Iterator[OwnDockerd]:
    with own_dockerd(tmp_path / "docker") as daemon:
        yield daemon


# The SDK leaves the socket open of a connection that it could not make.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_of_a_killed_docker_daemon(
    dockerd: OwnDockerd, tmp_path: Path, tiny_registry: TinyRegistry, object_store: FolderStore
) -> None:
    settings = Settings(
        state_dir=tmp_path / "state",
        object_store_url=f"file:{tmp_path / 'objects'}",
        registry_url=tiny_registry.url,
        docker_url=dockerd.url,
        host_id=f"test-{uuid.uuid4().hex[:8]}",
    )
    host = ContainerHost.from_settings(settings)
    activities = HostActivities(settings, host, object_store)
    # What has no line feed yet lies in the daemon's own memory, and goes with it.
    script = f"{SAYS.format(LAST + chr(92) + 'n')} exec sleep 600"
    run = Runs(tiny_registry.image, settings.host_id).shell(script)
    running = Running(activities, run)
    running.wait_until_started()
    api = docker.APIClient(base_url=dockerd.url)
    let_go(api, run)
    api.close()
    dockerd.kill()
    with pytest.raises(DockerUnavailable):
        running.result.result(60)
    # Temporal tries again until the daemon is there; it ends what it finds running.
    with pytest.raises(DockerUnavailable):
        ActivityEnvironment().run(activities.run_container, run)
    dockerd.start()
    result = ActivityEnvironment().run(activities.run_container, run)
    assert result.reason is EndReason.LOCAL_SYSTEM_ERROR
    assert result.last_lines[-1] == LAST
    assert whole_log(object_store, run) == f"{WHOLE}\n"
    assert host.list_ours() == []
    host.close()
    gc.collect()
