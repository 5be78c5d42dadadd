"""Ports, devices, disk and network rate of containers on the real dockerd, seen from outside."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from activities.hosts import HostActivities
from fleetwide.models.containers import RunContainer
from fleetwide.models.hosts import RunProgress, image_mark
from fleetwide.models.task_states import EndReason, TaskState
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.network_limits import why_not
from fleetwide.providers.objects import FolderStore
from fleetwide.settings import Settings
from tests.integration.containers_fixtures import Runs, free_port
from tests.integration.test_host_activities import Running, execute

pytestmark = pytest.mark.integration
FUSE = "/dev/fuse"
LISTEN = """
import socket, sys
with socket.create_server(("", int(sys.argv[1]))) as server:
    print("ready", flush=True)
    server.accept()[0].sendall(b"from inside")
"""
SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    for _ in range(3000):
        sender.sendto(b"x" * 1400, (sys.argv[1], 9))
"""


@pytest.fixture
def activities(
    host_settings: Settings, container_host: ContainerHost, object_store: FolderStore
) -> HostActivities:
    quick = host_settings.model_copy(update={"disk_watch_seconds": 0.3})
    return HostActivities(quick, container_host, object_store)


def with_grants(run: RunContainer, **grants: object) -> RunContainer:
    return run.model_copy(update=grants)


@contextmanager
def running(activities: HostActivities, run: RunContainer, api: docker.APIClient) -> Iterator[int]:
    """The first process of a container that runs until the block is left."""
    attempt = Running(activities, run)
    attempt.wait_for_beat(_is_started)
    try:
        yield int(api.inspect_container(run.key.container_name())["State"]["Pid"])
    finally:
        api.kill(run.key.container_name())
        attempt.result.result(60)


def _is_started(beat: RunProgress) -> bool:
    return beat.state is TaskState.STARTED


def inside(process: int, *command: str) -> list[str]:
    return ["nsenter", f"--net=/proc/{process}/ns/net", *command]


def test_a_port_of_the_host_leads_to_the_one_that_the_program_listens_on(
    activities: HostActivities, runs: Runs, docker_api: docker.APIClient
) -> None:
    chosen = free_port()
    resources = {"cpu": 0.5, "memory": "64MiB", "ports": {"http": {"to": 8080}}}
    run = runs.shell("sleep 600", network="bridge", resources=resources)
    with running(activities, with_grants(run, ports={"http": chosen}), docker_api) as process:
        command = inside(process, sys.executable, "-c", LISTEN, "8080")
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            with socket.create_connection(("127.0.0.1", chosen), 10) as client:
                assert client.recv(100) == b"from inside"
        assert Path(f"/proc/{process}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()


def test_the_program_learns_its_ports_and_devices(activities: HostActivities, runs: Runs) -> None:
    resources = {"cpu": 0.5, "memory": "64MiB", "ports": ["http", "admin"], "gpus": 1}
    ports = {"http": free_port(), "admin": free_port()}
    run = runs.shell("env", network="bridge", resources=resources)
    lines = execute(activities, with_grants(run, ports=ports, devices=[FUSE])).last_lines
    assert f"FLEETWIDE_PORT_http={ports['http']}" in lines
    assert f"FLEETWIDE_PORT_admin={ports['admin']}" in lines
    assert f"FLEETWIDE_DEVICES={FUSE}" in lines


def test_a_port_that_another_program_has_is_not_the_tasks_fault(
    activities: HostActivities, runs: Runs
) -> None:
    resources = {"cpu": 0.5, "memory": "64MiB", "ports": ["http"]}
    run = runs.shell("true", network="bridge", resources=resources)
    with socket.create_server(("0.0.0.0", 0)) as other:
        taken = int(other.getsockname()[1])
        result = execute(activities, with_grants(run, ports={"http": taken}))
    assert result.reason is EndReason.LOCAL_SYSTEM_ERROR
    assert str(taken) in result.message


def test_only_the_devices_of_the_task_can_be_opened(activities: HostActivities, runs: Runs) -> None:
    script = f": < {FUSE}; echo fuse $?; : < /dev/loop0; echo loop $?"
    run = runs.shell(script, resources={"cpu": 0.5, "memory": "64MiB", "gpus": 1})
    lines = execute(activities, with_grants(run, devices=[FUSE])).last_lines
    assert "fuse 0" in lines
    assert "loop 0" not in lines
    without = execute(activities, runs.shell(script)).last_lines
    assert "fuse 0" not in without


def test_a_device_that_is_gone_is_not_the_tasks_fault(
    activities: HostActivities, runs: Runs
) -> None:
    run = runs.shell("true", resources={"cpu": 0.5, "memory": "64MiB", "gpus": 1})
    result = execute(activities, with_grants(run, devices=["/dev/no-such-gpu"]))
    assert result.reason is EndReason.LOCAL_SYSTEM_ERROR
    assert "/dev/no-such-gpu" in result.message


def test_a_container_that_writes_more_than_its_disk_is_ended_with_evidence(
    activities: HostActivities, runs: Runs
) -> None:
    script = "echo begun; head -c 90000000 /dev/zero > /large; sleep 600"
    run = runs.shell(script, resources={"cpu": 0.5, "memory": "256MiB", "disk": "64MB"})
    result = execute(activities, run)
    assert result.reason is EndReason.DISK_LIMIT_EXCEEDED
    assert "it has written" in result.message
    assert "may write 64 MB (container.resources.disk)" in result.message
    assert result.last_lines == ["begun"]


def test_a_container_within_its_disk_is_left_alone(activities: HostActivities, runs: Runs) -> None:
    script = "head -c 50000000 /dev/zero > /large; sleep 2; echo whole"
    run = runs.shell(script, resources={"cpu": 0.5, "memory": "256MiB", "disk": "64MB"})
    result = execute(activities, run)
    assert (result.reason, result.last_lines) == (EndReason.NORMAL, ["whole"])


def buckets(shown: bytes) -> dict[str, object]:
    [bucket] = [each for each in json.loads(shown) if each["kind"] == "tbf"]
    return dict(bucket)


@pytest.mark.skipif(why_not() is not None, reason=f"no network limits here: {why_not()}")
def test_the_network_rate_is_held_by_the_kernel_both_ways(
    activities: HostActivities, runs: Runs, docker_api: docker.APIClient
) -> None:
    resources = {"cpu": 0.5, "memory": "64MiB", "network": 8}
    run = runs.shell("sleep 600", network="bridge", resources=resources)
    shown = ("tc", "-s", "-j", "qdisc", "show", "dev")
    with running(activities, run, docker_api) as process:
        found = docker_api.inspect_container(run.key.container_name())
        gateway = found["NetworkSettings"]["Gateway"]
        address = found["NetworkSettings"]["IPAddress"]
        subprocess.run(inside(process, sys.executable, "-c", SEND, gateway), check=True)
        out = buckets(subprocess.check_output(inside(process, *shown, "eth0")))
        subprocess.run([sys.executable, "-c", SEND, address], check=True)
        peer = subprocess.check_output(inside(process, "ip", "-j", "link", "show", "eth0"))
        links = json.loads(subprocess.check_output(["ip", "-j", "link"]))
        index = json.loads(peer)[0]["link_index"]
        [outside] = [each["ifname"] for each in links if each["ifindex"] == index]
        into = buckets(subprocess.check_output([*shown, outside]))
    for bucket in (out, into):
        assert bucket["options"]["rate"] == 1_000_000  # type: ignore[index]  # bytes a second
        assert int(str(bucket["overlimits"])) > 0


def test_a_container_without_a_rate_has_no_bucket(
    activities: HostActivities, runs: Runs, docker_api: docker.APIClient
) -> None:
    run = runs.shell("sleep 600", network="bridge")
    with running(activities, run, docker_api) as process:
        shown = subprocess.check_output(inside(process, "tc", "qdisc", "show", "dev", "eth0"))
    assert b"tbf" not in shown


def test_it_gains_no_privileges(activities: HostActivities, runs: Runs) -> None:
    script = "while read a b; do [ $a = NoNewPrivs: ] && echo $b; done < /proc/self/status; true"
    assert execute(activities, runs.shell(script)).last_lines == ["1"]


def test_a_host_tells_what_its_machine_has_what_it_keeps_and_which_images_it_holds(
    container_host: ContainerHost, activities: HostActivities, runs: Runs
) -> None:
    execute(activities, runs.shell("true"))
    facts = container_host.facts()
    assert facts.disk is not None
    assert facts.disk_offered is not None
    assert 0 <= facts.disk_offered <= facts.disk - facts.reserve.disk
    assert facts.reserve.memory > 0
    assert facts.labels["architecture"] == facts.architecture
    assert set(facts.limits) == {"cpu", "memory", "pids", "gpu", "disk", "network"}
    assert all(
        words.split(":")[0].split()[0] in ("kernel", "watched", "reserved")
        for words in facts.limits.values()
    )
    assert image_mark(runs.image) in container_host.held_images()
