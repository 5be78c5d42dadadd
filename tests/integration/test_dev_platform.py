"""A reduced platform of real servers: up, status, faults, down, and up again."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import psutil
import pytest

from fleetwide.containers.launch import PLATFORM_LABEL
from fleetwide.dev.config import DevConfig, Process, dump, only, ports_of
from fleetwide.dev.logs import tail
from fleetwide.dev.machine import marked_processes, taken_ports
from fleetwide.dev.parse import load
from fleetwide.dev.platform import ProcessStatus, UpOptions, down, reset, status, up
from fleetwide.errors import Conflict, DockerUnavailable, ServiceUnavailable
from tests.integration.containers_fixtures import DOCKER_URL, tiny_layer
from tests.platforms import on_free_ports

pytestmark = pytest.mark.integration

SHIPPED = load(Path(__file__).parents[2] / "temporal-dev.yaml")
TEMPORAL = Path(sys.executable).parent / "temporal"


def servers() -> DevConfig:
    return on_free_ports(only(SHIPPED, ("temporal", "distribution", "aws")))


def of(**processes: dict[str, object]) -> DevConfig:
    """A platform of other processes than the shipped ones."""
    models = {name: Process.model_validate(values) for name, values in processes.items()}
    return on_free_ports(SHIPPED.model_copy(update={"processes": models}))


def becomes(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def named(state: Path, name: str) -> ProcessStatus:
    return next(process for process in status(state) if process.name == name)


def left_over(state: Path) -> list[psutil.Process]:
    return marked_processes(lambda other: other == state.resolve())


def temporal(file: Path, *arguments: str) -> str:
    command = [str(TEMPORAL), "--env-file", str(file), "--env", "dev", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / ".fleetwide"
    yield folder
    down(folder)
    assert left_over(folder) == []


def test_a_platform_comes_up_goes_down_and_keeps_its_state(state: Path, tmp_path: Path) -> None:
    config = servers()
    file = tmp_path / "temporal-dev.yaml"
    file.write_text(dump(config))
    said: list[str] = []

    up(config, state, UpOptions(report=said.append))
    assert all(process.healthy for process in status(state))
    assert any(line.startswith("distribution ready in") for line in said)
    assert any("temporal server start-dev --ip 127.0.0.1" in line for line in said)
    temporal(file, "workflow", "start", "--type", "Bake", "--workflow-id", "kept")

    down(state)
    assert left_over(state) == []
    assert not taken_ports(port for name in config.processes for port in ports_of(config, name))
    assert not any(process.healthy for process in status(state))

    up(config, state)
    assert "kept" in temporal(file, "workflow", "list")


def test_up_twice_says_so_and_starts_nothing(state: Path) -> None:
    config = servers()
    up(config, state)
    before = [process.pid for process in status(state)]
    said: list[str] = []
    up(config, state, UpOptions(report=said.append))
    assert said[-1] == "already up"
    assert [process.pid for process in status(state)] == before


def test_a_changed_configuration_is_told_while_the_old_one_runs(state: Path) -> None:
    config = of(idle={"command": "sleep 1000"})
    up(config, state)
    said: list[str] = []
    changed = of(idle={"command": "sleep 2000"})
    up(changed, state, UpOptions(report=said.append))
    assert any("configuration has changed" in line for line in said)


def test_search_attributes_are_added_to_a_namespace_that_exists(
    state: Path, tmp_path: Path
) -> None:
    config = on_free_ports(only(SHIPPED, ("temporal",)))
    fewer = config.server.model_copy(update={"search_attributes": {"App": "Keyword"}})
    up(config.model_copy(update={"server": fewer}), state)
    down(state)
    up(config, state)
    file = tmp_path / "temporal-dev.yaml"
    file.write_text(dump(config))
    listed = temporal(file, "operator", "search-attribute", "list").split()
    assert set(config.server.search_attributes) <= set(listed)


def test_a_killed_process_is_started_again(state: Path) -> None:
    up(servers(), state)
    first = named(state, "distribution").pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert becomes(lambda: named(state, "distribution").pid not in {None, first})
    assert becomes(lambda: named(state, "distribution").healthy)
    assert named(state, "distribution").restarts == 1


def test_the_registrys_front_door_comes_back_and_leaves_nothing_behind(state: Path) -> None:
    up(on_free_ports(only(SHIPPED, ("registry",))), state)
    first = named(state, "registry").pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert becomes(lambda: named(state, "registry").pid not in {None, first})
    assert becomes(lambda: named(state, "registry").healthy)
    # One that could not take the port would have been started more than once.
    assert named(state, "registry").restarts == 1
    down(state)
    assert left_over(state) == []


def test_down_finds_what_a_killed_supervisor_left_behind(state: Path) -> None:
    up(servers(), state)
    os.kill(int((state / "supervisord.pid").read_text()), signal.SIGKILL)
    assert len(left_over(state)) >= 3
    down(state)
    assert left_over(state) == []


def test_up_recovers_from_a_killed_supervisor(state: Path) -> None:
    config = servers()
    up(config, state)
    os.kill(int((state / "supervisord.pid").read_text()), signal.SIGKILL)
    up(config, state)
    assert all(process.healthy for process in status(state))


def test_taken_ports_are_told_with_their_holder_before_anything_starts(
    state: Path, tmp_path: Path
) -> None:
    config = servers()
    up(config, state)
    second = tmp_path / "second"
    with pytest.raises(Conflict) as caught:
        up(config, second)
    for name in config.processes:
        for port in ports_of(config, name):
            assert f"port {port} is taken by pid" in caught.value.message
    assert f"pid {named(state, 'aws').pid}: " in caught.value.message
    assert caught.value.hint == f"fleetwide dev down --state-dir {state}"
    assert left_over(second) == []
    assert all(process.healthy for process in status(state))


def test_reset_refuses_while_the_platform_is_up(state: Path) -> None:
    up(of(idle={"command": "sleep 1000"}), state)
    with pytest.raises(Conflict, match="is up"):
        reset(state)
    down(state)
    reset(state)
    assert not state.exists()


def test_a_process_that_ends_is_told_with_its_last_lines(state: Path) -> None:
    config = of(
        idle={"command": "sleep 1000"},
        broken={"command": "sh -c 'echo no licence; exit 3'", "after": "idle"},
    )
    with pytest.raises(ServiceUnavailable, match=r"broken ended \(exit status 3\)") as caught:
        up(config, state)
    assert "  no licence" in caught.value.message
    assert caught.value.hint is not None
    assert "fleetwide dev logs broken" in caught.value.hint
    assert named(state, "idle").healthy


def test_a_process_that_never_gets_healthy_is_told(state: Path) -> None:
    silent: dict[str, object] = {
        "command": "sleep 1000",
        "health": "file:{state}/never",
        "start-seconds": 1,
    }
    with pytest.raises(ServiceUnavailable, match="silent was not healthy within 1 s"):
        up(of(silent=silent), state)


def test_up_goes_on_after_a_failure_was_cured(state: Path) -> None:
    config = of(late={"command": "sh -c 'test -e {state}/cured && exec sleep 1000'"})
    with pytest.raises(ServiceUnavailable):
        up(config, state)
    (state / "cured").touch()
    up(config, state)
    assert named(state, "late").healthy


def test_a_one_shot_is_done_before_what_needs_it_starts(state: Path) -> None:
    config = of(
        reader={"command": "sh -c 'cat {state}/written; exec sleep 1000'", "after": "writer"},
        writer={"command": "sh -c 'echo hello > {state}/written'", "restart": "never"},
    )
    up(config, state)
    assert named(state, "writer").state == "done"
    assert becomes(lambda: tail(state / "logs" / "reader.log", 1) == ["hello"])


def test_names_start_these_and_what_they_need(state: Path) -> None:
    idle: dict[str, object] = {"command": "sleep 1000"}
    config = of(base=idle, top=idle | {"after": "base"}, other=idle)
    up(config, state, UpOptions(names=("top",)))
    assert {process.name: process.healthy for process in status(state)} == {
        "base": True,
        "top": True,
        "other": False,
    }
    up(config, state)
    assert named(state, "other").healthy


def test_credentials_of_the_shell_do_not_reach_the_processes(state: Path) -> None:
    shell = os.environ | {"AWS_SECRET_ACCESS_KEY": "real", "FLEETWIDE_DATABASE_URL": "real"}
    up(of(idle={"command": "sleep 1000"}), state, UpOptions(shell=shell))
    pid = named(state, "idle").pid
    assert "real" not in psutil.Process(pid).environ().values()


def test_a_state_folder_too_deep_for_a_socket_works(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    up(of(idle={"command": "sleep 1000"}), deep)
    assert named(deep, "idle").healthy
    down(deep)
    assert left_over(deep) == []


def test_down_stops_the_platforms_containers_and_no_others(state: Path) -> None:
    up(of(idle={"command": "sleep 1000"}), state)
    client = docker.DockerClient(base_url=DOCKER_URL)
    name = f"dev-platform-{uuid.uuid4().hex[:8]}"
    image = import_tiny(client, name)
    try:
        ours = client.containers.run(
            image, ["sleep", "1000"], detach=True, labels={PLATFORM_LABEL: str(state)}
        )
        other = client.containers.run(
            image, ["sleep", "1000"], detach=True, labels={PLATFORM_LABEL: f"{state}-other"}
        )
        down(state)
        ours.reload()
        other.reload()
        assert (ours.status, other.status) == ("exited", "running")
    finally:
        for container in client.containers.list(all=True, filters={"ancestor": image}):
            container.remove(force=True)
        client.images.remove(image, force=True)
        client.close()


def import_tiny(client: docker.DockerClient, name: str) -> str:
    client.api.import_image_from_data(tiny_layer(), repository=name, tag="1")
    return f"{name}:1"


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Docker's sockets do not fit below pytest's folders."""
    with tempfile.TemporaryDirectory(prefix="fw", dir="/tmp") as folder:
        yield Path(folder)


def own_dockerd(folder: Path) -> DevConfig:
    """A second daemon that shares nothing with the machine's own.

    It has its own network: a daemon without a bridge removes the one that it finds.
    """
    command = (
        f"unshare --net dockerd --host unix://{folder}/docker.sock --pidfile {folder}/docker.pid"
        f" --exec-root {folder}/run --data-root {folder}/data --bridge none --iptables=false"
    )
    return of(dockerd={"command": command, "health": f"unix:{folder}/docker.sock"})


def test_where_no_daemon_answers_our_own_starts_and_stops_last(short_folder: Path) -> None:
    state = short_folder / "state"
    url = f"unix://{short_folder}/docker.sock"
    shell = os.environ | {"FLEETWIDE_DOCKER_URL": url}
    up(own_dockerd(short_folder), state, UpOptions(shell=shell))
    client = docker.DockerClient(base_url=url)
    image = import_tiny(client, "tiny")
    labels = {PLATFORM_LABEL: str(state)}
    client.containers.run(image, ["sleep", "1000"], detach=True, labels=labels, network_mode="none")
    client.close()
    said: list[str] = []
    down(state, said.append)
    assert "1 containers stopped" in said
    assert left_over(state) == []


def test_where_a_daemon_answers_none_is_started(state: Path, short_folder: Path) -> None:
    said: list[str] = []
    shell = os.environ | {"FLEETWIDE_DOCKER_URL": DOCKER_URL}
    up(own_dockerd(short_folder), state, UpOptions(shell=shell, report=said.append))
    assert any("not needed: a Docker daemon answers" in line for line in said)
    assert left_over(state) == []


def test_a_platform_that_comes_up_in_parts_starts_no_needless_daemon(
    state: Path, short_folder: Path
) -> None:
    shell = os.environ | {"FLEETWIDE_DOCKER_URL": DOCKER_URL}
    dockerd = own_dockerd(short_folder).processes["dockerd"].model_dump(exclude_none=True)
    waits: dict[str, object] = {"command": "sleep 1000"}
    config = of(first=waits, dockerd=dockerd, second=waits | {"after": "dockerd"})
    up(config, state, UpOptions(names=("first",), shell=shell))
    said: list[str] = []
    up(config, state, UpOptions(shell=shell, report=said.append))
    assert any("not needed: a Docker daemon answers" in line for line in said)
    assert {one.name for one in status(state) if one.healthy} == {"first", "second"}
    assert not (short_folder / "docker.pid").exists()


def test_a_daemon_that_the_shell_names_must_answer(state: Path, short_folder: Path) -> None:
    shell = os.environ | {"FLEETWIDE_DOCKER_URL": "unix:///nowhere.sock"}
    with pytest.raises(DockerUnavailable, match=r"answers at unix:///nowhere\.sock"):
        up(own_dockerd(short_folder), state, UpOptions(shell=shell))
    assert left_over(state) == []


def test_a_daemon_asked_for_by_name_is_not_started_where_one_answers(state: Path) -> None:
    said: list[str] = []
    up(SHIPPED, state, UpOptions(names=("dockerd",), report=said.append))
    assert len(said) == 1
    assert "not needed" in said[0]
    assert left_over(state) == []
