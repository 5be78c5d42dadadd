"""The guard stops containers whose lease is not renewed; on the real dockerd and kernel."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from fleetwide.containers.launch import create_request, labels
from fleetwide.containers.leases import Lease
from fleetwide.models.containers import RunContainer
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.fences import EngineAway, Fence
from fleetwide.providers.guards import GuardKeeper
from fleetwide.providers.lease_folder import GUARD_LOCK, LeaseFolder, boot_id, boot_time
from tests.integration.containers_fixtures import DOCKER_URL, Runs
from workers.guard import Guard

pytestmark = pytest.mark.integration
FOREVER = "while :; do sleep 0.1; done"
DEAF = f"trap '' TERM; {FOREVER}"


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.05)


@pytest.fixture
def folder(tmp_path: Path) -> LeaseFolder:
    made = LeaseFolder(tmp_path / "leases")
    made.folder.mkdir()
    return made


@pytest.fixture
def fence() -> Fence:
    made = Fence(DOCKER_URL)
    made.look()
    return made


@pytest.fixture
def started(container_host: ContainerHost, runs: Runs) -> Iterator[Callable[..., RunContainer]]:
    """Makes containers as attempts do, and takes them away afterwards."""
    made: list[str] = []

    def start(script: str, *, running: bool = True) -> RunContainer:
        run = runs.shell(script)
        image = container_host.image_name(run.image)
        container_host.pull(image, lambda _: True)
        request = create_request(run, image, container_host.platform)
        found = container_host.create(run.key.container_name(), request)
        assert found is not None
        made.append(found.id)
        if running:
            container_host.start(found.id)
        return run

    yield start
    for container in made:
        container_host.remove(container)


def lease_of(run: RunContainer, platform: str, *, ends_in: float, grace: float = 0) -> Lease:
    return Lease(
        name=run.key.container_name(),
        labels=labels(run, platform),
        boot_id=boot_id(),
        renewed_at=boot_time() + ends_in - 5,
        stop_after=5,
        grace=grace,
    )


def status(host: ContainerHost, run: RunContainer) -> str:
    found = host.inspect(run.key.container_name())
    return found.status if found else "gone"


@pytest.mark.parametrize("script", [FOREVER, DEAF])
def test_a_container_runs_until_its_lease_is_over(
    container_host: ContainerHost,
    folder: LeaseFolder,
    fence: Fence,
    started: Callable[..., RunContainer],
    script: str,
) -> None:
    clock = [boot_time()]
    guard = Guard(folder, fence, lambda: clock[0])
    run = started(script)
    folder.write(lease_of(run, container_host.platform, ends_in=100, grace=1))
    guard.turn()
    assert status(container_host, run) == "running"
    assert not folder.is_fenced(run.key.container_name())
    clock[0] = boot_time() + 101
    guard.turn()
    until(lambda: status(container_host, run) == "exited")
    assert folder.is_fenced(run.key.container_name())


def test_a_renewed_lease_is_left_alone_and_setting_the_clock_moves_nothing(
    container_host: ContainerHost,
    folder: LeaseFolder,
    fence: Fence,
    started: Callable[..., RunContainer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = started(FOREVER)
    lease = lease_of(run, container_host.platform, ends_in=0.3)
    folder.write(lease)
    guard = Guard(folder, fence)
    folder.write(replace(lease, renewed_at=boot_time()))
    for skew in (-86_400, 86_400):
        wall = time.time() + skew
        monkeypatch.setattr(time, "time", lambda wall=wall: wall)
        guard.turn()
    assert status(container_host, run) == "running"
    assert not folder.is_fenced(lease.name)


def test_a_container_that_is_started_after_its_lease_ended_is_stopped_too(
    container_host: ContainerHost,
    folder: LeaseFolder,
    fence: Fence,
    started: Callable[..., RunContainer],
) -> None:
    clock = [boot_time()]
    guard = Guard(folder, fence, lambda: clock[0])
    run = started(FOREVER, running=False)
    folder.write(lease_of(run, container_host.platform, ends_in=-1))
    guard.turn()
    container_host.start(run.key.container_name())
    clock[0] += 10
    until(lambda: guard.turn() == 1 and status(container_host, run) == "exited")


def test_leases_without_containers_and_of_another_boot_are_dropped(
    container_host: ContainerHost,
    folder: LeaseFolder,
    fence: Fence,
    started: Callable[..., RunContainer],
    runs: Runs,
) -> None:
    gone, running = runs.shell(FOREVER), started(FOREVER)
    folder.write(lease_of(gone, container_host.platform, ends_in=-1))
    before = lease_of(running, container_host.platform, ends_in=-1)
    folder.write(replace(before, boot_id="another"))
    Guard(folder, fence).turn()
    until(lambda: folder.all() == [])
    assert status(container_host, running) == "running"


@pytest.mark.parametrize("script", [FOREVER, DEAF])
def test_a_container_is_killed_by_the_kernel_where_the_engine_is_away(
    container_host: ContainerHost,
    folder: LeaseFolder,
    fence: Fence,
    started: Callable[..., RunContainer],
    tmp_path: Path,
    script: str,
) -> None:
    run = started(script)
    away = Fence(f"unix://{tmp_path / 'nobody.sock'}", fence.root)
    lease = lease_of(run, container_host.platform, ends_in=-1, grace=1)
    folder.write(lease)
    assert away.runs(lease)
    Guard(folder, away).turn()
    until(lambda: status(container_host, run) == "exited")
    until(lambda: not away.runs(lease))


def test_an_engine_that_does_not_answer_is_told_from_one_that_has_nothing(tmp_path: Path) -> None:
    with pytest.raises(EngineAway):
        Fence(f"unix://{tmp_path / 'nobody.sock'}").ask("GET", "/info")


def test_the_guards_process_outlives_its_worker_and_leaves_when_it_is_done(
    container_host: ContainerHost, folder: LeaseFolder, started: Callable[..., RunContainer]
) -> None:
    run = started(FOREVER)
    folder.write(lease_of(run, container_host.platform, ends_in=3))
    command = [sys.executable, "-m", "workers.guard", str(folder.folder), DOCKER_URL]
    starter = (
        "import subprocess, sys, time\n"
        "null = subprocess.DEVNULL\n"
        "process = subprocess.Popen(sys.argv[1:], stdout=null, start_new_session=True)\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", starter, *command],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert worker.stdout
    guard = int(worker.stdout.readline())
    os.killpg(worker.pid, signal.SIGKILL)
    worker.communicate()
    until(lambda: status(container_host, run) == "exited")
    api = docker.APIClient(base_url=DOCKER_URL)
    api.remove_container(run.key.container_name())
    api.close()
    until(lambda: not Path(f"/proc/{guard}").exists() or _is_zombie(guard), 30)
    assert folder.all() == []


def _is_zombie(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


async def test_a_dead_or_hanging_guard_is_replaced(folder: LeaseFolder) -> None:
    keeper = GuardKeeper(folder, DOCKER_URL)
    with folder.held_by_worker():
        await keeper.start()
        first = _guard_of(folder)
        os.kill(first, signal.SIGKILL)
        until(lambda: keeper.ensure() and _guard_of(folder) != first)
        second = _guard_of(folder)
        assert keeper.ensure()
        assert _guard_of(folder) == second
    os.kill(second, signal.SIGTERM)
    until(lambda: _is_zombie(second))
    keeper.close()


def _guard_of(folder: LeaseFolder) -> int:
    pid, at = (folder.folder / GUARD_LOCK).read_text().split()
    assert float(at) <= boot_time()
    return int(pid)
